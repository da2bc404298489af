"""Show which conditions wait for a person, and the health of the installation."""

from __future__ import annotations

from typing import Any, Final

from reconciler.api.action import TaskAction
from reconciler.api.approval import read_condition
from reconciler.api.logins import WHOLE, View
from reconciler.api.phase import ActionPhase
from reconciler.client import Client
from reconciler.core.documents import Document
from worker.dashboard.buttons import buttons_of
from worker.dashboard.markdown import read_markdown

_RUNS: Final = 2_000
"""Newest runs that are looked through for questions."""
_PAGE: Final = 500
_READ: Final = 20_000
"""Newest runs that are read for a login that sees few of them."""
_QUESTIONS: Final = 200


def waiting_document(client: Client, view: View = WHOLE, *, read_only: bool) -> Document:
    """Write the conditions that wait for a person, of the newest runs the reader sees, the oldest question last."""
    found: list[Document] = []
    before: Any = 0
    looked = read = 0
    while (
        looked < _RUNS and read < _READ and len(found) < _QUESTIONS and (page := client.runs(_PAGE, before))
    ):
        seen = [summary for summary in page if view.sees(summary.id.project)]
        asking = [summary for summary in seen if summary.counts.phases.get(ActionPhase.PAUSED)]
        for summary in asking:
            records = (one for one in client.actions(summary.id) if one.phase is ActionPhase.PAUSED)
            found += [_question(record, read_only=read_only) for record in records]
        looked, read, before = looked + len(seen), read + len(page), page[-1]
    return {"questions": found[:_QUESTIONS], "runs": looked, "now": client.store.now()}


def _question(record: TaskAction, *, read_only: bool) -> Document:
    spec = read_condition(record.spec.condition_spec)
    return {
        "action": str(record.id),
        "name": spec.name if spec else record.id.action,
        "type": spec.type if spec else "str",
        "prompt": spec.prompt if spec else "",
        "prompt_read": read_markdown(spec.prompt) if spec else [],
        "description": spec.description if spec else "",
        "description_read": read_markdown(spec.description) if spec else [],
        "created": record.metadata.creation_timestamp,
        "buttons": [] if read_only else buttons_of(record),
    }

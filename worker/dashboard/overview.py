"""Show which conditions wait for a person, and the health of the installation."""

from __future__ import annotations

from typing import Final

from reconciler.api.action import TaskAction
from reconciler.api.approval import read_condition
from reconciler.api.logins import WHOLE, View
from reconciler.api.phase import ActionPhase
from reconciler.client import Client
from reconciler.controller.approval import deadline_of
from reconciler.core.documents import Document
from worker.dashboard.buttons import buttons_of
from worker.dashboard.markdown import read_markdown

_READ: Final = 20_000
"""Names of questions that are looked through for a login that sees few projects."""
_QUESTIONS: Final = 200


def waiting_document(client: Client, view: View = WHOLE, *, read_only: bool) -> Document:
    """Write the conditions that wait for a person: the newest ones he sees, the oldest last, and how many there are.

    The cost is that of what is shown, however many runs there are and however old they are.
    """
    whole = view.projects is None
    asking = client.store.list_asking(_QUESTIONS if whole else _READ)
    seen = [action for action in asking.actions if view.sees(action.project)]
    records = client.store.get_many(seen[:_QUESTIONS])
    waiting = [record for record in records if record is not None and record.phase is ActionPhase.PAUSED]
    return {
        "questions": [_question(record, read_only=read_only) for record in waiting],
        "waiting": asking.total if whole else len(seen),
        "complete": whole or asking.total <= _READ,
        "now": client.store.now(),
    }


def _question(record: TaskAction, *, read_only: bool) -> Document:
    spec = read_condition(record.spec.condition_spec)
    return {
        "action": str(record.id),
        "name": spec.name if spec else record.id.action,
        "type": spec.type if spec else "str",
        "asks_for": spec.asks_for if spec else "an answer",
        "prompt": spec.prompt if spec else "",
        "prompt_read": read_markdown(spec.prompt) if spec else [],
        "description": spec.description if spec else "",
        "description_read": read_markdown(spec.description) if spec else [],
        "created": record.metadata.creation_timestamp,
        "until": deadline_of(record, spec) if spec else 0,
        "buttons": [] if read_only else buttons_of(record),
    }

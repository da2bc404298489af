"""Show what waits for a person, and how the installation is."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from reconciler.api.action import TaskAction
from reconciler.api.condition import read_condition
from reconciler.api.phase import ActionPhase
from reconciler.client import Client
from reconciler.core.documents import Document
from reconciler.core.liveness import read_facts
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.redis.surveying import Late
from worker.dashboard.buttons import buttons_of

_RUNS: Final = 2_000
"""Newest runs that are looked through for questions."""
_PAGE: Final = 500
_QUESTIONS: Final = 200
SWEEPS: Final = ("resync", "collect")


def waiting_document(client: Client, *, read_only: bool) -> Document:
    """The conditions that wait for a person, of the newest runs, the oldest question last."""
    found: list[Document] = []
    before: Any = 0
    looked = 0
    while looked < _RUNS and len(found) < _QUESTIONS and (page := client.runs(_PAGE, before)):
        asking = [summary for summary in page if summary.counts.phases.get(ActionPhase.PAUSED)]
        for summary in asking:
            records = (one for one in client.actions(summary.id) if one.phase is ActionPhase.PAUSED)
            found += [_question(record, read_only=read_only) for record in records]
        looked, before = looked + len(page), page[-1]
    return {"questions": found[:_QUESTIONS], "runs": looked, "now": client.store.now()}


def _question(record: TaskAction, *, read_only: bool) -> Document:
    spec = read_condition(record.spec.condition_spec)
    return {
        "action": str(record.id),
        "name": spec.name if spec else record.id.action,
        "type": spec.type if spec else "str",
        "prompt": spec.prompt if spec else "",
        "description": spec.description if spec else "",
        "created": record.metadata.creation_timestamp,
        "buttons": [] if read_only else buttons_of(record),
    }


def health_document(client: Client) -> Document:
    """Lateness, queues with their workers, and workers."""
    store = client.store
    late = store.latest() if isinstance(store, RedisStore) else Late(0, 0)
    told = store.workers() if isinstance(store, RedisStore) else {}
    workers = [_worker(name, facts) for name, facts in sorted(told.items())]
    consumed = {queue for worker in workers for queue in worker["queues"]} - {client.settings.steps_queue}
    names = sorted({client.settings.attempts_queue, *consumed, *store.launches_waiting()})
    return {
        "late": max(0, late.by),
        "queues": [
            {
                **msgspec.to_builtins(facts),
                "workers": sum(facts.name in worker["queues"] for worker in workers),
            }
            for facts in client.queues(*names)
        ],
        "workers": workers,
        "sweeps": {name: store.swept_ago(name) for name in SWEEPS} if isinstance(store, RedisStore) else {},
        "now": store.now(),
    }


def _worker(name: str, data: bytes) -> Document:
    facts = read_facts(data)
    return {
        "name": name,
        "process": facts.process,
        "queues": list(facts.queues or ()),
        "functions": facts.functions,
        "release": facts.release,
        "started": facts.started_at,
        "troubles": list(facts.troubles),
    }

"""Tells how an installation stands: lateness, queues, workers. For `reconciler top` and the page of health."""

from __future__ import annotations

from typing import Final

import msgspec

from reconciler.client import Client
from reconciler.core.documents import Document
from reconciler.core.liveness import read_facts
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.redis.surveying import Late

SWEEPS: Final = ("resync", "collect")


def health_document(client: Client) -> Document:
    """Write lateness, queues with their workers, and workers."""
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
        "memory": _memory(store) if isinstance(store, RedisStore) else None,
        "now": store.now(),
    }


def _memory(store: RedisStore) -> Document:
    """Tell how many bytes the server of the records uses, and may use; 0 = as many as there are."""
    found = store.memory()
    return {"used": found.used, "limit": found.limit}


def doctor_document() -> Document:
    """Write everything `reconciler doctor` checks, as its `--json` tells it."""
    from reconciler.cli.checks import examine  # noqa: PLC0415  # slow to import, and seldom asked
    from reconciler.cli.format import scrub  # noqa: PLC0415  # as above

    found = examine()
    checks = [
        {
            "name": one.name,
            "state": one.state,
            "detail": scrub(one.detail) or None,
            "problems": [scrub(problem) for problem in one.problems],
        }
        for one in found
    ]
    return {"ok": not any(one.problems for one in found), "checks": checks}


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

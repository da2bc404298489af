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

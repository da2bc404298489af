"""Read how an installation stands: lateness, queues, workers, sweeps. For `reconciler top` and the page of health."""

from __future__ import annotations

from itertools import islice
from typing import Final

import msgspec

from reconciler.api.queues import is_queue
from reconciler.cli.losses import losses_document
from reconciler.client import Client
from reconciler.core.documents import Document
from reconciler.core.liveness import read_facts
from reconciler.core.probe import PROBE
from reconciler.stores.redis.store import RedisStore

SWEEPS: Final = {"resync": 2_000, "collect": 60_000}
"""The periodic duties, and how often `beat_schedule.py` has them done, ms."""
_FUNCTIONS: Final = 500
"""Functions of one queue that are named."""


def health_document(client: Client) -> Document:
    """Write lateness, queues with their workers and functions, workers, sweeps, and what went wrong lately."""
    store = client.store
    if not isinstance(store, RedisStore):
        return {**_standing(client, {}), **_of_no_server()}
    now = store.now()
    ran = {name: store.swept_ago(name) for name in SWEEPS}
    return {
        **_standing(client, store.workers()),
        "late": max(0, store.latest().by),
        "sweeps": ran,
        "schedules": [_schedule(name, ago, now) for name, ago in ran.items()],
        "memory": _memory(store),
        **losses_document(store, now),
        "now": now,
    }


def _of_no_server() -> Document:
    """Write the parts that an engine in memory has none of."""
    nothing: Document = {"count": 0, "newest": []}
    return {
        "late": 0,
        "sweeps": {},
        "schedules": [],
        "memory": None,
        "lost": nothing,
        "cleanups": [],
        "now": 0,
    }


def _standing(client: Client, told: dict[str, bytes]) -> Document:
    workers = [_worker(name, facts) for name, facts in sorted(told.items())]
    consumed = {queue for worker in workers for queue in worker["queues"]} - {client.settings.steps_queue}
    known_names = {client.settings.attempts_queue, *consumed, *client.store.launches_waiting()}
    known_names |= client.store.queues_with_rules()
    names = sorted(
        filter(is_queue, known_names)
    )  # a worker may consume others, in which nothing of ours waits
    known = client.store.functions_of(names) if isinstance(client.store, RedisStore) else [{}] * len(names)
    queues = [
        {
            **msgspec.to_builtins(facts),
            "workers": sum(facts.name in worker["queues"] for worker in workers),
            "functions": [
                {"name": name, "workers": count}
                for name, count in islice(functions.items(), _FUNCTIONS)
                if name != PROBE
            ],
        }
        for facts, functions in zip(client.queues(*names), known, strict=True)
    ]
    return {"queues": queues, "workers": workers}


def _schedule(name: str, ago: int | None, now: int) -> Document:
    """Tell when a sweep was made and when the next one is due: at beat's tick, or without beat by a steps worker."""
    every = SWEEPS[name]
    last = None if ago is None else now - ago
    return {"name": name, "every": every, "last": last, "next": None if last is None else last + every}


def _memory(store: RedisStore) -> Document:
    """Return how many bytes the server of the records uses, and may use; 0 = no limit."""
    found = store.memory()
    return {"used": found.used, "limit": found.limit}


def doctor_document() -> Document:
    """Write everything `reconciler doctor` checks, as its `--json` prints it."""
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

"""What functions that wait for a person cost of Redis: each with its approval, once no worker holds any of them."""

from __future__ import annotations

import threading
import time
from collections import Counter

from benchmarks import tasks
from reconciler.client import Client, Run
from reconciler.stores.redis.store import RedisStore

_TIMEOUT = 900
_SAMPLE = 50


def measure(client: Client, n: int) -> dict[str, object]:
    """Have n functions wait, each a run of its own, and tell the bytes of each, as a whole and by kinds of keys."""
    store = client.store
    assert isinstance(store, RedisStore)
    tasks.env.client = client
    _wait(client, [tasks.asks.delay()])
    before, began = _used(store), time.perf_counter()
    runs = [tasks.asks.delay() for _ in range(n)]
    _wait(client, runs)
    seconds = time.perf_counter() - began
    return {
        "seconds": round(seconds, 1),
        "redis_bytes_each": round((_used(store) - before) / n),
        **_kinds(store, runs[-_SAMPLE:]),
    }


def _used(store: RedisStore) -> int:
    return int(store.client.info("memory")["used_memory"])


def _wait(client: Client, runs: list[Run[int]]) -> None:
    """Wait until all of them are suspended."""
    ends, left = time.monotonic() + _TIMEOUT, runs
    while left:
        if time.monotonic() > ends:
            raise TimeoutError(f"{len(left)} of {len(runs)} are not suspended")
        threading.Event().wait(0.5)
        found = [client.store.get(run.action) for run in left[:500]]
        left = [
            *(
                run
                for run, record in zip(left, found, strict=False)
                if not (record and record.attempt.suspended)
            ),
            *left[500:],
        ]


def _kinds(store: RedisStore, runs: list[Run[int]]) -> dict[str, object]:
    """Tell the bytes of the keys of a run, by what follows its path."""
    sizes: Counter[str] = Counter()
    for run in runs:
        for key in store.client.scan_iter(match=f"*{run.id}*", count=5000):
            text = key.decode()
            kind = text.partition(str(run.id))
            name = kind[0].split(":")[-2] + kind[2]
            if "-" in name:
                name = name.partition("/")[0] + "/child"
            sizes[f"bytes_{name}"] += int(store.client.memory_usage(key, samples=0) or 0)
    return {name: round(size / len(runs)) for name, size in sorted(sizes.items())}

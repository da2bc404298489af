"""`python -m benchmarks lone`: how long one call takes, on an idle stack and beside a map of many.

Beside it stands what a call of plain Celery takes on the same server, in turn.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

from benchmarks import plain, tasks
from reconciler.client import Client

_ROUNDS = 5


def measure(client: Client, n: int) -> dict[str, object]:
    """Submit `n` calls one after the other and wait for each; then the same while a map of 10,000 runs."""
    tasks.env.client = client
    idle: list[float] = []
    celery: list[float] = []
    with plain.worker():
        for _ in range(_ROUNDS):
            idle += _calls(n // _ROUNDS, _one)
            celery += _calls(n // _ROUNDS, _plain)
    busy, maps = _beside_maps(n)
    return {
        "idle_ms": _quantiles(idle),
        "plain_celery_ms": _quantiles(celery),
        "beside_10000_ms": _quantiles(busy),
        "maps": maps,
    }


def _beside_maps(n: int) -> tuple[list[float], int]:
    """Call `n` times while a map of 10,000 runs, one map after the other; only calls count that ended before their map."""
    found: list[float] = []
    maps = 0
    while len(found) < n:
        beside = tasks.one.map(range(10_000))
        maps += 1
        while len(found) < n:
            [seconds] = _calls(1, _one)
            if beside.phase.is_terminal():
                break
            found.append(seconds)
        beside.abort("measured")
    return found, maps


def _one(number: int) -> object:
    return tasks.one.delay(number).result(60)


def _plain(number: int) -> object:
    return plain.one.delay(number).get(timeout=60)


def _calls(n: int, call: Callable[[int], object]) -> list[float]:
    found = []
    for number in range(n):
        began = time.perf_counter()
        call(number)
        found.append(1000 * (time.perf_counter() - began))
        threading.Event().wait(0.01)
    return found


def _quantiles(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1), "max": round(max(times), 1)}

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
    beside = tasks.one.map(range(10_000))
    busy = _calls(n, _one)
    ended = beside.phase.is_terminal()
    beside.abort("measured")
    return {
        "idle_ms": _quantiles(idle),
        "plain_celery_ms": _quantiles(celery),
        "beside_10000_ms": _quantiles(busy),
        "map_ended_before": ended,
    }


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

"""`python -m benchmarks lone`: how long one call takes, on an idle stack and beside a map of many."""

from __future__ import annotations

import statistics
import threading
import time

from benchmarks import tasks
from reconciler.client import Client


def measure(client: Client, n: int) -> dict[str, object]:
    """Submit `n` calls one after the other and wait for each; then the same while a map of 10,000 runs."""
    tasks.env.client = client
    idle = _calls(n)
    beside = tasks.one.map(range(10_000))
    busy = _calls(n)
    ended = beside.phase.is_terminal()
    beside.abort("measured")
    return {"idle_ms": _quantiles(idle), "beside_10000_ms": _quantiles(busy), "map_ended_before": ended}


def _calls(n: int) -> list[float]:
    found = []
    for number in range(n):
        began = time.perf_counter()
        tasks.one.delay(number).result(60)
        found.append(1000 * (time.perf_counter() - began))
        threading.Event().wait(0.01)
    return found


def _quantiles(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1), "max": round(max(times), 1)}

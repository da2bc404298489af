"""`python -m benchmarks waiting`: what very many calls cost that wait in a paused queue, and whether each step stays flat.

They are submitted in a hundred maps, looked at, and aborted one map after the other. "First" and "last" compare the first
tenth of them with the last one.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import tasks
from reconciler.client import Client, Run

_RUNS = 100
_PATIENCE = 3600.0


def measure(client: Client, n: int) -> dict[str, object]:
    """Submit n calls, wait until all stand in line, look, abort all, and wait until all have ended."""
    tasks.env.client = client
    client.pause_queue("attempts")
    store: Any = client.store
    before, began, each = _bytes(store), time.monotonic(), n // _RUNS
    runs: list[Run[Any]] = []
    submitted = _times(lambda _: runs.append(tasks.one.map(range(each))), range(_RUNS))
    _until(lambda: sum(store.launches_waiting().values()) == each * _RUNS)
    stood, size = time.monotonic() - began, (_bytes(store) - before) / n
    looks = _looks(client, runs)
    began = time.monotonic()
    aborted = _times(lambda number: runs[number].abort("measured"), range(_RUNS))
    asked = time.monotonic() - began
    _until(lambda: all(client.counts(run.id).ended == each + 1 for run in runs))
    ended = time.monotonic() - began
    return {
        "bytes_each": round(size),
        "submitted_per_second": _rates(each, submitted),
        "seconds_until_all_stand": round(stood, 1),
        **looks,
        "aborts_stored_per_second": _rates(each, aborted),
        "seconds_until_all_aborts_are_stored": round(asked, 1),
        "seconds_until_all_have_ended": round(ended, 1),
        "ended_per_second": round(n / ended),
    }


def _looks(client: Client, runs: list[Run[Any]]) -> dict[str, object]:
    """Milliseconds, median of a hundred."""
    looks: dict[str, Callable[[int], object]] = {
        "one_record": lambda number: client.get(runs[number].action),
        "its_turn": lambda number: client.store.turn(runs[number].id.action("m7")),
        "newest_50_runs": lambda _: client.runs(50),
        "lengths_of_lines": lambda _: client.store.launches_waiting(),
    }
    return {
        f"look_{name}_ms": round(1000 * statistics.median(_times(look, range(_RUNS))), 2)
        for name, look in looks.items()
    }


def _times(one: Callable[[int], object], numbers: Iterable[int]) -> list[float]:
    found = []
    for number in numbers:
        began = time.perf_counter()
        one(number)
        found.append(time.perf_counter() - began)
    return found


def _rates(each: int, seconds: list[float]) -> dict[str, int]:
    tenth = max(1, len(seconds) // 10)
    return {
        "first": round(each * tenth / sum(seconds[:tenth])),
        "last": round(each * tenth / sum(seconds[-tenth:])),
    }


def _bytes(store: Any) -> int:  # noqa: ANN401  # a Redis store, started here
    return int(store.client.info("memory")["used_memory"])


def _until(condition: Callable[[], bool]) -> None:
    ends, tick = time.monotonic() + _PATIENCE, threading.Event()
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError("not within an hour")
        tick.wait(0.25)

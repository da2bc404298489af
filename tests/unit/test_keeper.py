"""The thread that looks after batches: it is woken for the first of many, and finds those behind it by itself."""

from __future__ import annotations

import threading
import time

from worker.attempts.heartbeat import Keeper


def looked_at(keeper: Keeper) -> float:
    """Give a keeper something to look at. Returns after how many seconds it does."""
    seen = threading.Event()

    def look() -> None:
        """Do nothing, because nothing is to be looked at again."""
        seen.set()

    began = time.monotonic()
    keeper.keep([], look)
    assert seen.wait(60)
    return time.monotonic() - began


def test_each_batch_is_looked_at() -> None:
    """The first, those that follow at once, and one after a rest: each within a moment, though 3,600 s are slept at rest."""
    keeper = Keeper()
    for _ in range(20):
        assert looked_at(keeper) < 60
    rests = time.monotonic() + 60
    while keeper._sleeps_until < time.monotonic() + 60:
        assert time.monotonic() < rests
        threading.Event().wait(0.01)
    assert looked_at(keeper) < 60


def test_a_batch_of_one_takes_nobodys_look_away() -> None:
    """What runs beside has nothing to be looked at, and leaves that to the batch before it."""
    keeper, seen = Keeper(), threading.Event()
    looks: list[float | None] = [0.02, None]

    def look() -> float | None:
        """Look twice."""
        if len(looks) == 1:
            seen.set()
        return looks.pop(0)

    keeper.keep([], look)
    keeper.keep([])
    assert seen.wait(60)

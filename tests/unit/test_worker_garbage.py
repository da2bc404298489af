"""How seldom a worker looks for garbage."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from worker.garbage import keep_what_is_there


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """This process goes on as it was."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


class Ring:
    """Holds itself."""

    def __init__(self) -> None:
        self.me = self


def test_what_a_worker_keeps_for_good_is_not_looked_at_again() -> None:
    """A collection visits what was made since, and not the libraries."""
    keep_what_is_there()
    assert gc.get_freeze_count() > len(gc.get_objects())


def test_the_garbage_of_many_steps_still_goes() -> None:
    """Cycles do not add up for ever."""
    keep_what_is_there()
    gone: list[object] = []
    first = weakref.ref(
        Ring(), gone.append
    )  # to ask it would hold the ring just when Python 3.12 and later look
    kept: list[list[object]] = []
    while not gone:
        kept.append([])
        assert len(kept) < 100_000, "no collection in so many objects"
    assert gone == [first]


def test_an_ordinary_batch_of_steps_is_not_interrupted() -> None:
    """Some thousand objects are no reason to look."""
    keep_what_is_there()
    before = [generation["collections"] for generation in gc.get_stats()]
    kept: list[list[object]] = [[] for _ in range(5000)]
    assert [generation["collections"] for generation in gc.get_stats()] == before
    assert len(kept) == 5000

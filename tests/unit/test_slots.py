"""A slot of a pool of threads comes back whatever ends the work in it, and lost slots are noticed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from celery.concurrency.thread import TaskPool

from reconciler.broker.liveness import Liveness
from worker.slots import Slots


class Held:
    """A request that counts its acknowledgements."""

    id = type = "x"

    def __init__(self) -> None:
        self.acknowledged = threading.Event()

    def acknowledge(self) -> None:
        """Do as Celery's."""
        self.acknowledged.set()

    def on_failure(self, *_: object) -> None:
        """Do as Celery's, which a pool of threads never calls."""


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    """A pool of one thread."""
    made = TaskPool(1)
    yield made
    made.executor.shutdown()


def test_an_error_outside_of_the_task_gives_the_slot_back(pool: TaskPool) -> None:
    """The message is acknowledged, and the pool counts as idle again."""
    slots, request = Slots(), Held()
    slots.watch(pool)
    slots.watch(pool)

    def broken(*_: object) -> None:
        assert slots.busy()
        raise ValueError("no message")

    pool.on_apply(print, (), {}, broken, None, error_callback=request.on_failure)
    assert request.acknowledged.wait(60)
    assert not slots.busy()


@pytest.mark.parametrize(
    ("busy", "queues", "heard"), [(True, {"q"}, True), (False, {"q"}, False), (False, set(), True)]
)
def test_a_consumer_that_has_lost_its_slots_is_not_heard(
    *, busy: bool, queues: set[str], heard: bool
) -> None:
    """All slots taken and nothing running is a fault; all slots at work, or no queue to take from, is not."""
    liveness = Liveness()
    liveness.busy = lambda: busy
    channel = SimpleNamespace(qos=SimpleNamespace(can_consume=lambda: False), active_queues=queues)
    cycle = SimpleNamespace(_channels=[channel])
    liveness.follow(cycle)
    liveness._heard -= 100
    liveness.turn(cycle)
    assert (liveness.silent_for() < 50) is heard

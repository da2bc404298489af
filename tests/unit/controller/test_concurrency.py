"""How many actions a process reconciles at a time is bounded, over all shards and threads (R2)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.errors import StoreUnavailable
from reconciler.api.transition import success
from reconciler.broker.recording import Wake
from reconciler.controller.concurrency import Slots
from reconciler.plugins.base import PluginProperties
from reconciler.plugins.context import TaskExecutionContext
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = [pytest.mark.rule("R2"), pytest.mark.usefixtures("quiet")]


@given(st.integers(1, 9), st.lists(st.integers(1, 20)))
def test_no_more_slots_than_there_are(most: int, requests: list[int]) -> None:
    """Whoever asks gets what is free, at least one or none at all; what is given back can be taken again."""
    slots = Slots(most)
    for request in requests:
        free = most - slots.taken
        assert slots.take(request, 0) == min(request, free)
    slots.give(slots.taken)
    assert slots.take(99, 0) == most


def test_a_slot_that_is_given_back_wakes_who_waits() -> None:
    """The wait ends with the slot, long before its patience; lowering keeps the smaller number."""
    slots = Slots(2)
    slots.lower(1)
    slots.lower(5)
    assert slots.take(2, 0) == 1
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(slots.take, 1, 60)
        slots.give(1)
        assert waiting.result(30) == 1
    assert slots.take(1, 0.001) == 0


class Gauge(ScriptedPlugin):
    """Counts handles at work at the same time; the first ones wait until as many are there as may be."""

    properties = PluginProperties()

    def __init__(self, expected: int) -> None:
        super().__init__("demo", success(), finalizes=False)
        self.most = self._now = 0
        self._expected = expected
        self._full = threading.Event()
        self._lock = threading.Lock()

    def handle(self, ctx: TaskExecutionContext) -> Any:
        """Be counted."""
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now >= self._expected:
                self._full.set()
        assert self._full.wait(30)
        try:
            return super().handle(ctx)
        finally:
            with self._lock:
                self._now -= 1


@pytest.mark.parametrize("most", [1, 3])
def test_steps_of_many_shards_share_the_bound(most: int) -> None:
    """Eight threads on eight shards have as many at work as the setting says, never more, and all get done."""
    gauge = Gauge(most)
    lab = Lab([gauge], shards=8, max_concurrent_reconciles=most)
    actions = [lab.submit("demo") for _ in range(24)]
    stepper = lab.engine.stepper
    with ThreadPoolExecutor(8) as pool:
        while not all(lab.get(action).is_terminal for action in actions):
            list(pool.map(stepper.step, range(8)))
    stepper.close()
    assert gauge.most == most
    assert stepper.slots.taken == 0


@pytest.mark.parametrize("drain", [True, False])
def test_a_step_without_room_leaves_the_work_to_a_later_one(drain: bool) -> None:  # noqa: FBT001  # a kind of step
    """It waits no longer than its budget, says that work is left, and sends a message; the work stays due."""
    gauge = Gauge(2)  # so the first one does not end
    lab = Lab(
        [gauge, ScriptedPlugin("quick", success(), finalizes=False)],
        shards=1, max_concurrent_reconciles=1, step_budget=timedelta(milliseconds=1),
    )  # fmt: skip
    slow = lab.submit("demo")
    stepper = lab.engine.stepper
    stepper.step(0)
    quick = lab.submit("quick")
    lab.messenger.wakes.clear()
    lab.clock.advance(timedelta(seconds=9))
    report = stepper.step(0, [quick], drain=drain)
    assert (report.claimed, report.again) == (0, True)
    assert lab.messenger.wakes == [Wake(0)]
    gauge._full.set()
    stepper.close()
    assert stepper.slots.taken == 0
    stepper.step(0)
    assert lab.get(quick).is_terminal
    assert lab.get(slow).is_terminal


@pytest.mark.parametrize("verb", ["claim", "commit"])
def test_an_outage_takes_no_slot_away(verb: str) -> None:
    """Slots are given back also when the store does not answer."""

    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    lab = Lab([ScriptedPlugin("demo", success(), finalizes=False)], shards=1)
    lab.submit("demo")
    setattr(lab.store, verb, away)
    with pytest.raises(StoreUnavailable):
        lab.engine.stepper.step(0)
    assert lab.engine.stepper.slots.taken == 0

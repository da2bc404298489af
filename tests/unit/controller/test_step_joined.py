"""Messages for a shard that is drained already hold no thread: the steps at work take them along (R2)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from step_lab import one_shard

from reconciler.api.errors import StoreUnavailable
from reconciler.api.transition import success
from reconciler.broker.recording import Wake
from reconciler.controller.ahead import StepReport
from reconciler.controller.joined import Joined
from reconciler.plugins.base import PluginProperties
from reconciler.plugins.context import TaskExecutionContext
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = [pytest.mark.rule("R2"), pytest.mark.usefixtures("quiet")]


class Slow(ScriptedPlugin):
    """Its handles wait until they are let go; `begun` counts them."""

    def __init__(self, name: str, *, inline: bool) -> None:
        super().__init__(name, success(), finalizes=False)
        self.properties = PluginProperties(inline=inline)
        self.begun = threading.Semaphore(0)
        self.free = threading.Event()

    def handle(self, ctx: TaskExecutionContext) -> Any:
        """Wait."""
        self.begun.release()
        assert self.free.wait(30)
        return super().handle(ctx)


def busy(slow: Slow, pool: ThreadPoolExecutor) -> tuple[Lab, list[Any]]:
    """Return a lab of one shard in which two steps are at work, and what they will report."""
    lab = one_shard(slow, ScriptedPlugin("quick", success(), finalizes=False), step_batch=1)
    running = []
    for _ in range(2):
        lab.submit(slow.id)
        running.append(pool.submit(lab.engine.stepper.step, 0))
        assert slow.begun.acquire(timeout=30)
    return lab, running


def test_a_third_step_of_a_shard_leaves_its_work_to_the_two() -> None:
    """It returns at once, and what its message named is done without another message."""
    slow = Slow("slow", inline=True)
    with ThreadPoolExecutor(3) as pool:
        lab, running = busy(slow, pool)
        quick = lab.submit("quick")
        assert pool.submit(lab.engine.stepper.step, 0, [quick]).result(30) == StepReport()
        assert not lab.get(quick).is_terminal
        lab.messenger.wakes.clear()
        slow.free.set()
        for one in running:
            one.result(30)
    assert lab.get(quick).is_terminal
    assert Wake(0) not in lab.messenger.wakes


def test_a_step_that_waits_for_handles_keeps_nobody_out() -> None:
    """Two steps wait for a service; a third one does what is quick meanwhile."""
    slow = Slow("slow", inline=False)
    with ThreadPoolExecutor(3) as pool:
        lab, running = busy(slow, pool)
        quick = lab.submit("quick")
        assert pool.submit(lab.engine.stepper.step, 0, [quick]).result(30).committed == 1
        slow.free.set()
        for one in running:
            one.result(30)
    lab.engine.stepper.close()
    assert lab.get(quick).is_terminal


def test_a_step_that_fails_makes_room() -> None:
    """However often the store does not answer, the next step of the shard does its work."""

    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    lab = one_shard(ScriptedPlugin("quick", success(), finalizes=False))
    quick, claim = lab.submit("quick"), lab.store.claim
    lab.store.claim = away  # type: ignore[method-assign]  # as a server that is away
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            lab.engine.stepper.step(0)
    lab.store.claim = claim  # type: ignore[method-assign]  # and back
    lab.step(quick)
    assert lab.get(quick).is_terminal


def test_what_was_asked_of_steps_that_failed_is_not_kept() -> None:
    """The last one to give up forgets it; the message comes again by the resync sweep."""
    joined = Joined()
    assert joined.enter(3, [])
    assert joined.enter(3, [])
    assert not joined.enter(3, [])
    joined.give_up(3)
    assert joined.asked(3)
    joined.give_up(3)
    assert not joined.asked(3)
    assert joined.enter(3, [])
    assert joined.leave(3) is None

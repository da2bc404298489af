"""Full batches overlap (R2): the store commits one and claims the next while the rounds between them are played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from step_lab import one_shard, step

from reconciler.api.action import ActionId
from reconciler.api.errors import StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import PhaseInfo, running, success
from reconciler.broker.recording import Wake
from reconciler.controller.ahead import StepReport
from reconciler.controller.step import Stepper
from reconciler.plugins.base import PluginProperties
from reconciler.plugins.context import TaskExecutionContext
from reconciler.stores.base import ClaimReport, CommitReport, Write
from reconciler.stores.writable import check_writable
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = [pytest.mark.rule("R2"), pytest.mark.usefixtures("quiet")]


class OnItsWay:
    """A turn of the store in memory: it is done when the answers are asked for."""

    def __init__(self, lab: Lab, story: list[str], writes: Sequence[Write], limit: int) -> None:
        for write in writes:
            check_writable(write)  # as a store that encodes what it sends
        story.append(f"sent {len(writes)}")
        self._lab = lab
        self._story = story
        self._writes = list(writes)
        self._limit = limit

    def answers(self) -> tuple[CommitReport | None, ClaimReport]:
        """Do both."""
        report = self._lab.store.commit(0, self._writes) if self._writes else None
        register = self._lab.store._shards[0]
        armed = register.armed
        claim = self._lab.store.claim(0, owner="step", limit=self._limit)
        register.armed = armed  # a claim that is sent ahead arms nothing
        self._story.append(f"claimed {len(claim.actions)}")
        return report, claim

    def give_up(self) -> None:
        """Note it."""
        self._story.append("gave up")


class Ahead:
    """A lab whose store can be sent ahead, and the story of what happened."""

    def __init__(self, count: int, plugin: ScriptedPlugin, batch: int = 2, **settings: Any) -> None:
        self.story: list[str] = []
        self.lab = one_shard(plugin, step_batch=batch, **settings)
        self.stepper = Stepper(self.lab.reconciler, self.lab.messenger, turns=self)
        self.lab.engine.stepper = self.stepper
        self.actions = [self.lab.submit("demo") for _ in range(count)]
        self.lab.messenger.wakes.clear()

    def begin(self, shard: int, writes: Sequence[Write], limit: int) -> OnItsWay:
        """Send a turn."""
        assert shard == 0
        return OnItsWay(self.lab, self.story, writes, limit)

    def succeeded(self, actions: Sequence[ActionId]) -> bool:
        """Whether all have."""
        return all(self.lab.get(action).phase is ActionPhase.SUCCEEDED for action in actions)


def told(tell: Callable[[], None]) -> ScriptedPlugin:
    """Return a plugin that tells of each call, and succeeds."""

    def handle(_: TaskExecutionContext) -> PhaseInfo:
        tell()
        return success()

    return ScriptedPlugin("demo", handle, finalizes=False)


def test_rounds_are_played_while_the_store_works() -> None:
    """A commit and the claim behind it are sent before the rounds of the next batch, and answered after them."""
    ahead = Ahead(5, told(lambda: ahead.story.append("round")))
    assert step(ahead.lab) == StepReport(claimed=5, committed=5)
    assert ahead.story == [
        *("sent 0", "round", "round", "claimed 2"),
        *("sent 2", "round", "round", "claimed 1"),
        "round",
    ]
    assert ahead.succeeded(ahead.actions)
    assert ahead.stepper.slots.taken == 0


def test_a_batch_that_is_not_full_is_not_overlapped() -> None:
    """A lone action pays nothing for it, and neither does a step that is to do only what it is told."""
    ahead = Ahead(1, told(lambda: None))
    assert step(ahead.lab).committed == 1
    ahead = Ahead(2, told(lambda: None))
    assert step(ahead.lab, ahead.actions, drain=False).committed == 2
    assert ahead.story == []


def test_rounds_that_may_wait_are_not_overlapped() -> None:
    """A handle that may block has a thread, and must not hold up what the store has answered."""
    plugin = told(lambda: None)
    plugin.properties = PluginProperties()
    ahead = Ahead(4, plugin)
    assert step(ahead.lab).committed == 4
    assert ahead.story == []
    ahead.stepper.close()


def test_what_cannot_be_written_spoils_no_batch() -> None:
    """A round whose write cannot be encoded becomes a failure of its own; the others of its batch are written (R59)."""
    bad: list[ActionId] = []

    def handle(context: TaskExecutionContext) -> PhaseInfo:
        if context.action.id in bad:
            context.action.set_status(cleanup_error="\ud800")
        return success()

    ahead = Ahead(4, ScriptedPlugin("demo", handle, finalizes=False))
    bad.append(ahead.actions[0])
    assert step(ahead.lab).committed >= 4
    assert ahead.succeeded(ahead.actions[1:])
    assert ahead.lab.get(bad[0]).status.total_system_failures


def test_no_room_is_no_claim() -> None:
    """A step that runs ahead waits for no slots and takes no more than there are: it goes on by turns."""
    ahead = Ahead(6, told(lambda: None), max_concurrent_reconciles=2)
    assert step(ahead.lab).committed == 6
    assert "claimed 0" in ahead.story
    assert ahead.succeeded(ahead.actions)
    assert ahead.stepper.slots.taken == 0


def test_the_next_due_time_is_armed_once() -> None:
    """The commits of overlapped batches send one countdown message for the earliest due time."""
    ahead = Ahead(4, ScriptedPlugin("demo", running(0)))
    step(ahead.lab)
    assert ahead.lab.messenger.wakes == [Wake(0, 10.0)]


def test_a_process_that_ends_gives_its_slots_back() -> None:
    """Whatever ends a round in the middle, nothing is waited for, and no slot is lost."""

    def handle(_: TaskExecutionContext) -> PhaseInfo:
        raise KeyboardInterrupt

    ahead = Ahead(3, ScriptedPlugin("demo", handle))
    with pytest.raises(KeyboardInterrupt):
        step(ahead.lab)
    assert ahead.story == ["sent 0", "gave up"]
    assert ahead.stepper.slots.taken == 0


def test_an_outage_gives_the_slots_back() -> None:
    """A store that fails while rounds are played ends the step; the claims end with their leases."""
    ahead = Ahead(5, told(lambda: None))

    def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    commit, ahead.lab.store.commit = ahead.lab.store.commit, down  # type: ignore[method-assign]  # an outage
    with pytest.raises(StoreUnavailable):
        step(ahead.lab)
    assert ahead.stepper.slots.taken == 0
    ahead.lab.store.commit = commit  # type: ignore[method-assign]  # it is over
    ahead.lab.clock.advance(ahead.lab.settings.step_lease)
    step(ahead.lab)
    assert ahead.succeeded(ahead.actions)

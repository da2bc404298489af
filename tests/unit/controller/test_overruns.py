"""Rounds that outlive their lease, each time anew, are counted and come to an end (R59, R41)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from control_support import CACHED, SmallCatalog

from reconciler.api.action import ActionId
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface
from reconciler.api.transition import running, success
from reconciler.controller.overruns import MOST_ABANDONED
from reconciler.plugins.context import TaskExecutionContext
from reconciler.testing import Lab, ScriptedPlugin, check_settled

pytestmark = [pytest.mark.rule("R59", "R41"), pytest.mark.usefixtures("quiet")]
LEASE = timedelta(seconds=10)


class Overrunning(ScriptedPlugin):
    """Takes longer than the lease in some of its calls; by then another step holds the action."""

    def __init__(self, *slow: str, answer: Any, **parts: Any) -> None:
        super().__init__("slow", answer, **parts)
        self.slow, self.left = slow, 10_000
        self.lab: Lab

    def outlive(self, call: str) -> None:
        """Let the lease end, and somebody else have the action."""
        if call not in self.slow or not self.left:
            return
        self.left -= 1
        self.lab.clock.advance(LEASE + timedelta(seconds=1))
        [action] = self.lab.submitted
        self.lab.store.claim(self.lab.store.shard_of(action.run_id), owner="other", limit=0, named=[action])

    def handle(self, ctx: TaskExecutionContext) -> Any:
        """Be slow, if told."""
        self.outlive("handle")
        return super().handle(ctx)

    def abort(self, ctx: TaskExecutionContext) -> None:
        """Be slow, if told."""
        self.outlive("abort")
        super().abort(ctx)

    def finalize(self, ctx: TaskExecutionContext) -> None:
        """Be slow, if told."""
        self.outlive("finalize")
        super().finalize(ctx)


def started(plugin: Overrunning, **parts: Any) -> tuple[Lab, ActionId]:
    """Return a lab with one action of that plugin."""
    lab = plugin.lab = Lab([plugin], shards=1, catalog=parts.pop("catalog", None))
    return lab, lab.submit("slow", **parts)


def test_rounds_that_always_outlive_their_lease_end_the_action() -> None:
    """A plugin that needs more than the lease for a look is no loop: failures are counted, and the record says why."""
    lab, action = started(Overrunning("handle", answer=success(), finalizes=False))
    lab.settle(rounds=500)
    assert check_settled(lab) == {ActionPhase.FAILED: 1}
    error = lab.get(action).status.error_state
    assert error is not None
    assert error.code == "MaxSystemFailuresExceeded"
    assert "rounds in a row did not end within their lease of 10s" in error.message
    assert "RECONCILER_STEP_LEASE" in error.message


def test_a_waiting_action_tells_that_its_rounds_come_to_nothing() -> None:
    """Below the budget the action waits, and whoever looks at it sees the reason."""
    lab, action = started(Overrunning("handle", answer=success()))
    while not lab.get(action).status.system_failures:
        lab.clock.advance(LEASE)
        lab.step()
    found = lab.get(action)
    assert found.phase is ActionPhase.QUEUED
    assert found.status.error_state is not None
    assert found.status.error_state.code == "RoundsAbandoned"


def test_a_few_lost_rounds_are_forgiven() -> None:
    """Workers die: fewer rounds than the bound count nothing, and one that commits starts the count anew."""
    plugin = Overrunning("handle", answer=running(0))
    lab, action = started(plugin)
    for _ in range(3):
        plugin.left = (MOST_ABANDONED - 1) // 2  # each loses two claims: its own, and that of the other step
        while plugin.left:
            lab.clock.advance(LEASE)
            lab.step()
        lab.clock.advance(2 * LEASE)
        assert lab.step().committed
    found = lab.get(action)
    assert found.phase is ActionPhase.RUNNING
    assert found.status.total_system_failures == 0


def test_those_that_died_together_do_not_meet_again() -> None:
    """One of them may be what kills the worker: each is looked at again at a time of its own."""
    lab = Lab([ScriptedPlugin("plain", success())], shards=1)
    actions = [lab.submit("plain") for _ in range(20)]
    for _ in range(MOST_ABANDONED):
        lab.store.claim(0, owner="dies", limit=20)
        lab.clock.advance(LEASE)
    lab.step()
    assert {lab.get(action).status.system_failures for action in actions} == {1}
    times = [at for _, at in lab.store.due(0)]
    assert len(set(times)) > 15
    lab.settle()
    assert check_settled(lab) == {ActionPhase.SUCCEEDED: 20}


@pytest.mark.parametrize("slow", [("abort",), ("finalize",), ("abort", "finalize")], ids=" ".join)
def test_an_abort_whose_clean_up_outlives_each_lease_ends(slow: tuple[str, ...]) -> None:
    """Clean-up that never gets through its round is given up like one that raises, and not tried once more."""
    lab, action = started(Overrunning(*slow, answer=running(0)))
    lab.step()
    lab.client.abort(action, "enough")
    lab.settle(rounds=500)
    assert check_settled(lab) == {ActionPhase.ABORTED: 1}
    assert "rounds in a row did not end" in lab.get(action).status.cleanup_error


def test_a_finalize_after_the_end_that_outlives_each_lease_is_given_up() -> None:
    """The action has ended; what it owes is given up after the same tries."""
    lab, action = started(Overrunning("finalize", answer=success()))
    lab.settle(rounds=500)
    assert check_settled(lab) == {ActionPhase.SUCCEEDED: 1}
    assert "rounds in a row did not end" in lab.get(action).status.cleanup_error


class SlowRelease(SmallCatalog):
    """A catalog whose release takes longer than the lease."""

    plugin: Overrunning

    def release_reservation(self, key: Any, owner: str) -> tuple[str, ...]:
        """Be slow."""
        self.plugin.outlive("release")
        return super().release_reservation(key, owner)


def test_an_abort_whose_reservation_is_released_too_slowly_ends() -> None:
    """Once clean-up is given up the catalog is not asked again: its reservation ends by itself."""
    catalog = SlowRelease()
    catalog.plugin = Overrunning("release", answer=running(0))
    lab, action = started(catalog.plugin, catalog=catalog, metadata=CACHED, interface=Interface())
    lab.step()
    lab.client.abort(action, "enough")
    lab.settle(rounds=500)
    assert check_settled(lab) == {ActionPhase.ABORTED: 1}

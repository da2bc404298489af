"""Handles that are slower than their step (R2): they hold up nobody, and commit by themselves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from step_lab import SECONDS, one_shard, step

from reconciler.api.errors import StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import failure, running, success
from reconciler.broker.recording import Wake
from reconciler.plugins.base import PluginProperties
from reconciler.plugins.context import TaskExecutionContext
from reconciler.stores.base import CommitReport, Write
from reconciler.testing import ScriptedPlugin

pytestmark = [pytest.mark.rule("R2"), pytest.mark.usefixtures("quiet")]
PATIENCE = 30.0
"""Longest wait of a test, in seconds of this process."""


class Slow(ScriptedPlugin):
    """Handles in a thread, and not before it is allowed to."""

    properties = PluginProperties()

    def __init__(self, task_type: str = "slow", *answers: Any) -> None:
        super().__init__(task_type, *(answers or (success(),)), finalizes=False)
        self.entered, self.may_go = threading.Semaphore(0), threading.Event()

    def handle(self, ctx: TaskExecutionContext) -> Any:
        """Wait for leave."""
        self.entered.release()
        assert self.may_go.wait(PATIENCE)
        return super().handle(ctx)


def test_a_slow_plugin_that_is_in_time_commits_with_its_step() -> None:
    """Handles in threads that end within the budget are part of the step."""
    slow = Slow()
    slow.may_go.set()
    lab = one_shard(slow, step_budget=timedelta(minutes=1), step_lease=timedelta(minutes=2))
    actions = [lab.submit("slow") for _ in range(3)]
    assert step(lab).committed == 3
    assert all(lab.get(action).is_terminal for action in actions)
    lab.engine.stepper.close()


def test_slow_handles_run_side_by_side() -> None:
    """Two slow handles of one batch are under way at the same time."""
    slow = Slow()
    lab = one_shard(slow, step_budget=timedelta(milliseconds=1))
    lab.submit("slow")
    lab.submit("slow")
    step(lab)
    assert slow.entered.acquire(timeout=PATIENCE)
    assert slow.entered.acquire(timeout=PATIENCE)
    slow.may_go.set()
    lab.engine.stepper.close()


def test_a_slow_plugin_does_not_hold_up_its_batch() -> None:
    """The others of a batch are committed while a slow handle goes on; it commits by itself when it is done."""
    slow = Slow()
    lab = one_shard(
        slow, ScriptedPlugin("quick", success(), finalizes=False), step_budget=timedelta(milliseconds=1)
    )
    late, quick = lab.submit("slow"), lab.submit("quick")
    report = step(lab)
    assert report.committed == 1
    assert lab.get(quick).is_terminal
    assert not lab.get(late).is_terminal
    slow.may_go.set()
    lab.engine.stepper.close()
    assert lab.get(late).is_terminal


def test_a_late_commit_arms_the_next_look() -> None:
    """An action that was committed late is looked at again like any other."""
    slow = Slow("slow", running(0))
    lab = one_shard(slow, step_budget=timedelta(milliseconds=1))
    action = lab.submit("slow")
    step(lab)
    lab.messenger.wakes.clear()
    lab.clock.advance(2 * SECONDS)
    slow.answers = [running(0, requeue_at=lab.clock() + 5000)]
    slow.may_go.set()
    lab.engine.stepper.close()
    assert lab.messenger.wakes == [Wake(0, 5.0)]
    assert lab.get(action).phase is ActionPhase.RUNNING


def test_a_late_commit_wakes_what_is_due_by_then() -> None:
    """When a late commit finds others due it sends a message for them."""
    slow = Slow()
    lab = one_shard(
        slow, ScriptedPlugin("quick", success(), finalizes=False), step_budget=timedelta(milliseconds=1)
    )
    lab.submit("slow")
    step(lab)
    lab.submit("quick")
    lab.messenger.wakes.clear()
    slow.may_go.set()
    lab.engine.stepper.close()
    assert lab.messenger.wakes == [Wake(0)]


def test_a_late_commit_of_the_last_action_sends_nothing() -> None:
    """Nothing due, nothing sent."""
    slow = Slow()
    lab = one_shard(slow, step_budget=timedelta(milliseconds=1))
    lab.submit("slow")
    step(lab)
    lab.messenger.wakes.clear()
    slow.may_go.set()
    lab.engine.stepper.close()
    assert not lab.messenger.wakes


def test_a_handle_slower_than_its_lease_is_superseded() -> None:
    """When another step took over in the meantime, the late result is dropped."""
    slow = Slow("slow", failure("E", "late"))
    lab = one_shard(slow, step_budget=timedelta(milliseconds=1))
    action = lab.submit("slow")
    step(lab)
    lab.clock.advance(11 * SECONDS)
    lab.store.claim(0, owner="other", limit=1)
    slow.may_go.set()
    lab.engine.stepper.close()
    assert not lab.get(action).is_terminal
    assert len(lab.events(action)) == 1


def test_a_store_that_fails_a_late_commit_is_survived() -> None:
    """A late commit that cannot be written ends with its claim: the action is due again when the lease ends."""
    slow = Slow()
    lab = one_shard(slow, step_budget=timedelta(milliseconds=1))
    action = lab.submit("slow")
    step(lab)
    commit = lab.store.commit

    def down(shard: int, writes: Sequence[Write]) -> CommitReport:
        raise StoreUnavailable(f"{shard} {len(writes)}")

    lab.store.commit = down  # type: ignore[method-assign]  # an outage
    slow.may_go.set()
    lab.engine.stepper.close()
    lab.store.commit = commit  # type: ignore[method-assign]  # it is over
    assert lab.store.due(0) == [(action, lab.clock() + 10_000)]


def test_a_handle_that_never_began_is_forgotten() -> None:
    """A process that ends drops the handles that wait for a thread; their claims end with their leases."""
    lab = one_shard()
    pending: Future[Write] = Future()
    pending.cancel()
    lab.engine.stepper._commit_late(0, pending)
    assert not lab.journal


def test_closing_without_threads_is_fine() -> None:
    """A stepper that never needed a thread closes, twice."""
    lab = one_shard()
    lab.engine.stepper.close()
    lab.engine.stepper.close()
    assert lab.engine.stepper._handles._threads is None

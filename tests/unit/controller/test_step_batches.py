"""A step is a batch of rounds (R2): what it takes, its limits, and what it arms."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from step_lab import SECONDS, one_shard, step

from reconciler.api.action import CONDITION, ActionSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import PhaseInfo, queued, running, success
from reconciler.broker.recording import Wake
from reconciler.controller.ahead import StepReport
from reconciler.plugins.context import TaskExecutionContext
from reconciler.testing import ScriptedPlugin

pytestmark = [pytest.mark.rule("R2"), pytest.mark.usefixtures("quiet")]


def test_an_empty_shard_is_nothing_to_do() -> None:
    """A step without due actions claims nothing and sends nothing."""
    lab = one_shard()
    assert step(lab) == StepReport()
    assert not lab.messenger.wakes


def test_a_step_takes_all_that_is_due() -> None:
    """Whatever is due in the shard is reconciled by one step, named or not."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    actions = [lab.submit("demo") for _ in range(3)]
    report = step(lab)
    assert (report.committed, report.superseded, report.again) == (3, 0, False)
    assert all(lab.get(action).phase is ActionPhase.SUCCEEDED for action in actions)


def test_a_batch_is_one_claim_and_one_commit() -> None:
    """All actions of a batch are claimed in one call and committed in one call."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    for _ in range(5):
        lab.submit("demo")
    verbs: list[str] = []
    lab.store.on_write = lambda verb, _: verbs.append(verb)
    step(lab)
    assert verbs == ["claim", "commit"]


def test_a_batch_has_a_limit() -> None:
    """A step claims at most a batch at once and goes on with the next one."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False), step_batch=2)
    for _ in range(5):
        lab.submit("demo")
    sizes: list[int] = []
    claim = lab.store.claim

    def counted(*args: Any, **more: Any) -> Any:
        report = claim(*args, **more)
        sizes.append(len(report.actions))
        return report

    lab.store.claim = counted  # type: ignore[method-assign]  # counts
    assert step(lab).committed == 5
    assert sizes == [2, 2, 1]


@pytest.mark.rule("R2")
@pytest.mark.parametrize(("limit", "claimed"), [(3, 3), (512, 4)])
def test_the_number_of_concurrent_reconciles_limits_the_batch(limit: int, claimed: int) -> None:
    """A step claims no more at once than reconciles may run side by side, and never more than its batch size."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False), step_batch=4)
    for _ in range(9):
        lab.submit("demo")
    limits: list[int] = []
    claim = lab.store.claim

    def seen(*args: Any, limit: int, **more: Any) -> Any:
        limits.append(limit)
        return claim(*args, limit=limit, **more)

    lab.store.claim = seen  # type: ignore[method-assign]  # looks
    lab.engine.stepper.limit(limit)
    assert step(lab).committed == 9
    assert set(limits) == {claimed}


def test_a_step_makes_room_when_its_budget_is_used_up() -> None:
    """With work left at the end of the budget the step sends itself a message and says so."""

    def takes_its_time(_: TaskExecutionContext) -> PhaseInfo:
        ends = time.monotonic() + 0.002
        while time.monotonic() < ends:
            pass
        return success()

    lab = one_shard(
        ScriptedPlugin("demo", takes_its_time), step_batch=1, step_budget=timedelta(milliseconds=1)
    )
    for _ in range(3):
        lab.submit("demo")
    lab.messenger.wakes.clear()
    report = step(lab)
    assert (report.committed, report.again) == (1, True)
    assert lab.messenger.wakes == [Wake(0)]


def test_a_step_goes_on_within_its_budget() -> None:
    """What becomes due by the step itself is done by the same step: a short action needs one message."""
    lab = one_shard(ScriptedPlugin("demo", queued(0, 0, "q"), running(0), success()))
    action = lab.submit("demo")
    step(lab)
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


def test_the_next_due_time_is_armed_once() -> None:
    """A step sends one countdown message for the earliest due time, and none while it is on its way."""
    lab = one_shard(ScriptedPlugin("demo", running(0)))
    lab.submit("demo")
    lab.messenger.wakes.clear()
    step(lab)
    assert lab.messenger.wakes == [Wake(0, 10.0)]
    step(lab)
    assert lab.messenger.wakes == [Wake(0, 10.0)]


def test_a_step_that_finds_nothing_arms_what_is_to_come() -> None:
    """When the armed message was lost, the next step that looks arms the due time again."""
    lab = one_shard(ScriptedPlugin("demo", running(0)))
    action = lab.submit("demo")
    lab.reconcile(action)
    lab.reconcile(action)
    lab.messenger.wakes.clear()
    lab.store._shards[0].armed = 0
    step(lab)
    assert lab.messenger.wakes == [Wake(0, 10.0)]


def test_without_draining_only_the_named_actions_are_done() -> None:
    """A worker that drives its own action on leaves the others of the shard alone."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    mine, other = lab.submit("demo"), lab.submit("demo")
    report = step(lab, [mine], drain=False)
    assert report.claimed == 1
    assert lab.get(mine).is_terminal
    assert not lab.get(other).is_terminal


def test_without_draining_others_that_are_due_get_a_message() -> None:
    """Whoever does not drain nudges: one message for the rest, unless one is on its way."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    first, second, _ = (lab.submit("demo") for _ in range(3))
    lab.messenger.wakes.clear()
    step(lab, [first], drain=False)
    assert lab.messenger.wakes == []  # the message of the submission is still on its way
    lab.clock.advance(4 * SECONDS)
    step(lab, [second], drain=False)
    assert lab.messenger.wakes == [Wake(0)]


def test_without_draining_nothing_due_needs_no_message() -> None:
    """A step of a lone action that has ended sends nothing."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    action = lab.submit("demo")
    lab.messenger.wakes.clear()
    step(lab, [action], drain=False)
    assert not lab.messenger.wakes


def test_conditions_and_unknown_types_are_done_in_line() -> None:
    """What no plugin runs takes no thread."""
    lab = one_shard()
    condition = lab.run(ActionSpec(action_type=CONDITION, condition_spec=b"{}")).action
    unknown = lab.submit("nobody")
    step(lab)
    assert lab.get(condition).phase is ActionPhase.PAUSED
    assert lab.get(unknown).phase is ActionPhase.FAILED
    assert lab.engine.stepper._handles._threads is None

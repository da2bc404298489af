"""What a round that raises, an unreachable server and a lost claim do to a step (R2)."""

from __future__ import annotations

from typing import Any

import pytest
from step_lab import SECONDS, one_shard, step

from reconciler.api.action import ActionId
from reconciler.api.errors import StoreUnavailable
from reconciler.api.transition import PhaseInfo, TaskInfo, running, success
from reconciler.plugins.context import TaskExecutionContext
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = [pytest.mark.rule("R2"), pytest.mark.usefixtures("quiet")]


def break_rounds(lab: Lab, error: Exception, broken: ActionId | None = None) -> None:
    """Let the rounds of an action (or of all) raise."""
    inner = lab.reconciler.round

    def raising(action: Any, original: Any = None) -> Any:
        if broken in {None, action.id}:
            action.set_status(attempts=99)
            raise error
        return inner(action, original)

    lab.reconciler.round = raising  # type: ignore[method-assign]  # a fault of ours


@pytest.mark.rule("R4")
def test_a_round_that_raises_leaves_the_record() -> None:
    """An unexpected error changes nothing of the record, is kept for operators, and is tried again soon."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    action = lab.submit("demo")
    break_rounds(lab, ZeroDivisionError("oops"))
    step(lab)
    record = lab.get(action)
    assert (record.status.attempts, record.events, record.version) == (0, 1, 1)
    assert lab.store.due(0) == [(action, lab.clock() + 5)]
    assert [(e.reason, e.message) for e in lab.audit()] == [("RoundFailed", "ZeroDivisionError: oops")]


@pytest.mark.rule("R4")
def test_a_round_that_keeps_raising_backs_off() -> None:
    """The delay doubles from 5 ms up to 1000 s, and never grows beyond."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    lab.submit("demo")
    break_rounds(lab, ZeroDivisionError("oops"))
    delays = []
    for _ in range(21):
        step(lab)
        at = lab.store.due(0)[0][1]
        delays.append(at - lab.clock())
        lab.clock.move_to(at)
    assert delays[:4] == [5, 10, 20, 40]
    assert delays[-3:] == [1_000_000] * 3


@pytest.mark.rule("R2")
def test_a_round_that_succeeds_starts_anew() -> None:
    """After a round without an error the next error waits the first delay again."""
    lab = one_shard(ScriptedPlugin("demo", running(0)))
    action = lab.submit("demo")
    good = lab.reconciler.round
    for broken in (True, True, False, True):
        lab.reconciler.round = good  # type: ignore[method-assign]  # whole again
        if broken:
            break_rounds(lab, ZeroDivisionError("oops"))
        step(lab, [action], drain=False)
        if broken:
            delay = lab.store.due(0)[0][1] - lab.clock()
    assert delay == 5


@pytest.mark.rule("R2")
def test_one_round_that_raises_harms_no_other() -> None:
    """The others of a batch are committed."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    bad, good = lab.submit("demo"), lab.submit("demo")
    break_rounds(lab, ZeroDivisionError("oops"), bad)
    step(lab, drain=True)
    assert lab.get(good).is_terminal
    assert not lab.get(bad).is_terminal


def test_a_server_that_is_away_is_no_fault_of_the_action() -> None:
    """A round that meets an outage is tried again without a warning on the record."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    action = lab.submit("demo")
    break_rounds(lab, StoreUnavailable("away"))
    step(lab)
    assert not lab.audit()
    assert lab.store.due(0)[0] == (action, lab.clock() + 5)


def test_remembered_errors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many actions fail, a process remembers a bounded number of them: the newest."""
    monkeypatch.setattr("reconciler.controller.delays._REMEMBERED", 2)
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    actions = [lab.submit("demo") for _ in range(3)]
    break_rounds(lab, ZeroDivisionError("oops"))
    for action in actions:
        step(lab, [action], drain=False)
    assert list(lab.engine.stepper._delays._failures) == actions[1:]


def test_an_unreachable_store_ends_the_step() -> None:
    """A step whose store does not answer raises: whoever runs it decides what then."""
    lab = one_shard()

    def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    lab.store.claim = down  # type: ignore[method-assign]  # an outage
    with pytest.raises(StoreUnavailable):
        step(lab)


def test_a_lost_claim_is_counted() -> None:
    """A write under a token that is not the newest is refused and reported as superseded."""

    def robbed(ctx: TaskExecutionContext) -> PhaseInfo:
        lab.clock.advance(11 * SECONDS)
        lab.store.claim(0, owner="other", limit=1)
        return success(TaskInfo(occurred_at=ctx.now))

    lab = one_shard(ScriptedPlugin("demo", robbed))
    action = lab.submit("demo")
    report = step(lab)
    assert (report.claimed, report.committed, report.superseded) == (1, 0, 1)
    assert not lab.get(action).is_terminal

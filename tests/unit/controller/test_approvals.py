"""Conditions: actions that wait for a person (R53), each step of their life."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from reconciler.api.action import CONDITION, DONE, ActionId, ActionSpec, Result, Signal, TaskAction
from reconciler.api.approval import ConditionSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.status_conditions import ConditionStatus, ConditionType, ErrorState
from reconciler.controller.round import commit_one
from reconciler.stores.base import SignalOutcome
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R53")
MINUTE = timedelta(minutes=1)


def ask(lab: Lab, timeout: timedelta | None = None, raw: bytes | None = None) -> ActionId:
    """Store a condition, past the door that refuses malformed ones."""
    spec = (
        msgspec.json.encode(ConditionSpec(name="go", prompt="Go on?", timeout=timeout))
        if raw is None
        else raw
    )
    action = ActionId("p", "d", "ask", "a0")
    asked = ActionSpec(
        project="p",
        domain="d",
        run_name="ask",
        action_name="a0",
        action_type=CONDITION,
        condition_spec=spec,
        short_name="ask",
    )
    lab.store.create([TaskAction(action, asked)])
    return action


def paused(lab: Lab, timeout: timedelta | None = None) -> ActionId:
    """Return a condition that has been looked at once."""
    action = ask(lab, timeout)
    lab.reconcile(action)
    return action


def answer(lab: Lab, action: ActionId, value: float | str = "yes", by: str = "ada") -> None:
    """Signal a condition."""
    assert lab.store.signal(action, Signal(value=value, by=by)) is SignalOutcome.STORED


def said(record: TaskAction) -> dict[ConditionType, tuple[ConditionStatus, str, str]]:
    """Return status, reason and message of each condition."""
    return {c.type: (c.status, c.reason, c.message) for c in record.status.conditions}


# -- waiting -----------------------------------------------------------------------------------------------------------
def test_a_condition_pauses() -> None:
    """A condition nobody has answered says PAUSED, and why it stands."""
    lab = Lab()
    record = lab.get(paused(lab))
    assert record.phase is ActionPhase.PAUSED
    assert said(record) == {ConditionType.PROGRESSING: (ConditionStatus.TRUE, "Paused", "waiting for signal")}
    assert [entry.phase for entry in record.status.phase_history] == ["Paused"]


@pytest.mark.rule("R53")
def test_pausing_is_an_event() -> None:
    """Whoever watches a condition learns that it waits."""
    lab = Lab()
    event = lab.events(paused(lab))[-1]
    assert (event.sequence, event.phase, event.final) == (2, ActionPhase.PAUSED, False)
    assert [entry.message for entry in event.cluster_events] == ["waiting for signal"]


def test_without_a_limit_it_waits_for_ever() -> None:
    """A condition without a timeout is never looked at again unless it is woken."""
    lab = Lab()
    assert lab.reconcile(ask(lab)) == DONE
    lab.settle(timedelta(days=3650))
    assert not lab.store.due(0)


@pytest.mark.parametrize("timeout", [timedelta(0), -MINUTE], ids=["zero", "negative"])
def test_a_limit_that_is_none_is_no_limit(timeout: timedelta) -> None:
    """A timeout of zero or less means no deadline."""
    lab = Lab()
    action = ask(lab, timeout)
    assert lab.reconcile(action) == DONE
    assert lab.get(action).phase is ActionPhase.PAUSED


def test_with_a_limit_it_is_looked_at_when_it_ends() -> None:
    """The next look is exactly at the deadline, counted from creation, in milliseconds."""
    lab = Lab()
    action = ask(lab, MINUTE)
    lab.clock.advance(1500)
    assert lab.reconcile(action) == Result(58_500)


def test_looking_again_changes_nothing() -> None:
    """A round that finds the condition still paused writes no event and no version."""
    lab = Lab()
    action = paused(lab, MINUTE)
    before = lab.get(action)
    lab.reconcile(action)
    after = lab.get(action)
    assert (after.version, after.events) == (before.version, before.events)


def test_no_finalizer_is_added() -> None:
    """A condition owes no clean-up."""
    lab = Lab()
    assert lab.get(paused(lab)).metadata.finalizers == ()


# -- signalled ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [True, False, 0, 2.5, "no"])
def test_a_signal_ends_it_in_success(value: float | str) -> None:
    """Any stored value ends the condition in SUCCEEDED, and is kept."""
    lab = Lab()
    action = paused(lab)
    answer(lab, action, value)
    assert lab.reconcile(action) == DONE
    record = lab.get(action)
    assert record.phase is ActionPhase.SUCCEEDED
    assert record.signal is not None
    assert record.signal.value == value
    text = 'condition signalled by "ada"'
    assert said(record) == {
        ConditionType.PROGRESSING: (ConditionStatus.FALSE, "Signaled", text),
        ConditionType.SUCCEEDED: (ConditionStatus.TRUE, "Signaled", text),
    }
    assert [entry.phase for entry in record.status.phase_history] == ["Paused", "Signaled"]


def test_a_signal_wakes_it() -> None:
    """A signal makes the condition due at once, so that a step ends it without waiting for the deadline."""
    lab = Lab()
    action = paused(lab, timedelta(days=1))
    answer(lab, action)
    lab.step(action)
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert lab.clock() == lab.get(action).metadata.creation_timestamp


@pytest.mark.rule("R53")
def test_a_signal_is_the_final_event() -> None:
    """The end of a condition is announced once, with who signalled it and without output files."""
    lab = Lab()
    action = paused(lab)
    answer(lab, action)
    lab.settle()
    last = lab.events(action)[-1]
    assert (last.phase, last.final, last.actor, last.outputs) == (ActionPhase.SUCCEEDED, True, "ada", None)
    assert sum(event.final for event in lab.events(action)) == 1


def test_a_signalled_condition_is_labelled() -> None:
    """The terminal labels are stamped in the same write."""
    lab = Lab()
    action = paused(lab)
    answer(lab, action)
    lab.reconcile(action)
    labels = lab.get(action).labels
    assert labels["flyte.org/termination-status"] == "terminated"
    assert labels["flyte.org/completed-time"] == "2023-11-14.22-13"


def test_a_signal_wins_over_a_passed_deadline() -> None:
    """A signal that was stored before the deadline was noticed counts."""
    lab = Lab()
    action = paused(lab, MINUTE)
    answer(lab, action)
    lab.clock.advance(2 * MINUTE)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


def test_a_signal_wins_over_a_malformed_spec() -> None:
    """A signal ends also a condition whose spec cannot be read."""
    lab = Lab()
    action = ask(lab, raw=b"nonsense")
    answer(lab, action)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


def test_a_signal_during_a_round_is_kept() -> None:
    """A signal that lands while a step holds the condition is not overwritten, and ends it right after."""
    lab = Lab()
    action = ask(lab)
    claim = lab.store.claim(lab.store.shard_of(action.run_id), owner="t", limit=0, named=[action])
    _, write = lab.reconciler.round(claim.actions[0])
    answer(lab, action)
    commit_one(lab.reconciler, write)
    assert lab.get(action).phase is ActionPhase.PAUSED
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


def test_a_signal_after_the_end_is_refused() -> None:
    """A condition that has ended takes no signal and stays as it ended."""
    lab = Lab()
    action = paused(lab, MINUTE)
    lab.settle()
    assert lab.store.signal(action, Signal(value=True)) is SignalOutcome.ENDED
    assert lab.get(action).phase is ActionPhase.TIMED_OUT


# -- timed out ---------------------------------------------------------------------------------------------------------
def test_the_deadline_ends_it() -> None:
    """At the deadline the condition ends in TIMED_OUT, with its own code and the age it reached."""
    lab = Lab()
    action = paused(lab, MINUTE)
    lab.settle()
    record = lab.get(action)
    text = "condition timed out after 1m without a signal"
    assert record.phase is ActionPhase.TIMED_OUT
    assert record.status.error_state == ErrorState("ConditionTimedOut", "USER", text)
    assert said(record) == {
        ConditionType.PROGRESSING: (ConditionStatus.FALSE, "TimedOut", text),
        ConditionType.FAILED: (ConditionStatus.TRUE, "TimedOut", text),
    }
    assert [entry.phase for entry in record.status.phase_history] == ["Paused", "TimedOut"]


def test_the_deadline_itself_is_too_late() -> None:
    """One millisecond before the deadline the condition waits; at the deadline it has ended."""
    lab = Lab()
    action = paused(lab, MINUTE)
    lab.clock.advance(59_999)
    assert lab.reconcile(action) == Result(1)
    lab.clock.advance(1)
    lab.reconcile(action)
    assert lab.get(action).phase is ActionPhase.TIMED_OUT


@pytest.mark.rule("R53")
def test_a_timeout_is_the_final_event() -> None:
    """The timeout is announced with its error, as the one final event."""
    lab = Lab()
    action = paused(lab, MINUTE)
    lab.settle()
    last = lab.events(action)[-1]
    assert last.error_info is not None
    assert (last.phase, last.final, last.error_info.code) == (
        ActionPhase.TIMED_OUT,
        True,
        "ConditionTimedOut",
    )


# -- malformed ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"nonsense", "failed to unmarshal conditionSpec: "),
        (b'{"timeout":"soon"}', "failed to unmarshal conditionSpec: "),
    ],
    ids=["no JSON", "no duration"],
)
def test_a_malformed_spec_ends_it(raw: bytes, text: str) -> None:
    """A spec that cannot be read ends the condition as InvalidSpec, by the user's fault, without a history entry."""
    lab = Lab()
    action = ask(lab, raw=raw)
    assert lab.reconcile(action) == DONE
    record = lab.get(action)
    error = record.status.error_state
    assert error is not None
    assert (record.phase, error.code, error.kind) == (ActionPhase.FAILED, "InvalidSpec", "USER")
    assert error.message.startswith(text)
    assert {reason for _, reason, _ in said(record).values()} == {"InvalidSpec"}
    assert record.status.phase_history == ()
    assert record.labels["flyte.org/termination-status"] == "terminated"


def test_an_empty_spec_ends_it() -> None:
    """A condition that slipped in without a spec says so by name."""
    lab = Lab()
    spec = ActionSpec(run_name="r", project="p", domain="d", action_name="a0", action_type=CONDITION)
    action = ActionId("p", "d", "r", "a0")
    lab.store.create([TaskAction(action, spec)])
    lab.reconcile(action)
    error = lab.get(action).status.error_state
    assert error is not None
    assert error.message == 'condition action "a0" has empty conditionSpec'


# -- aborted -----------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R53")
def test_an_abort_ends_it() -> None:
    """An aborted condition ends in ABORTED, visibly: reason and actor are in its final event."""
    lab = Lab()
    action = paused(lab)
    lab.client.abort(action, "not needed", actor="ada")
    lab.settle()
    last = lab.events(action)[-1]
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert (last.phase, last.final, last.actor) == (ActionPhase.ABORTED, True, "ada")


def test_an_abort_wins_over_a_later_signal() -> None:
    """A signal after the request to abort is refused."""
    lab = Lab()
    action = paused(lab)
    lab.client.abort(action)
    assert lab.store.signal(action, Signal(value=True)) is SignalOutcome.ENDED


def test_each_round_of_a_condition_is_one_commit() -> None:
    """Status, event and labels of the end are one write."""
    lab = Lab()
    action = paused(lab)
    answer(lab, action)
    before = lab.get(action).version
    lab.reconcile(action)
    assert lab.get(action).version == before + 1

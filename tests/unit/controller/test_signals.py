"""Conditions as callers see them: asked by `Client.condition`, answered by `Client.signal` (R53, R54)."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import Any

import pytest

from reconciler.api.action import CONDITION, ActionId, ActionSpec, Signal
from reconciler.api.errors import (
    ActionConflict,
    ActionNotFound,
    ActionTimedOut,
    InvalidArguments,
    InvalidName,
    InvalidSpec,
    NotACondition,
    ReconcilerError,
    SignalRefused,
)
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.broker.recording import Wake
from reconciler.client import Run
from reconciler.client.submission import whoami
from reconciler.stores.base import SignalOutcome
from reconciler.sweeps.resync import GRACE, resync
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R54")
ANSWERS = [("bool", True), ("bool", False), ("int", 0), ("float", 2.5), ("str", ""), ("str", "no")]


class Colour(enum.StrEnum):
    """A text that is not only a text."""

    RED = "red"


def asked(lab: Lab, type: str = "bool", **fields: Any) -> Run[Any]:  # noqa: A002  # the word of the field
    """Return a condition that waits."""
    fields.setdefault("name", "go")
    run: Run[Any] = lab.client.condition(type=type, **fields)  # type: ignore[call-overload]  # a name of any type
    lab.step()
    return run


def refusal(lab: Lab, action: ActionId, value: Any) -> ReconcilerError:
    """Return the error with which a signal is refused; it stores nothing and sends nothing."""
    before, sent = lab.store.get(action), len(lab.messenger.wakes)
    with pytest.raises(ReconcilerError) as caught:
        lab.client.signal(action, value)
    after = lab.store.get(action)
    assert (after and after.signal) == (before and before.signal)
    assert len(lab.messenger.wakes) == sent
    return caught.value


# -- asking ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("kind", "value"), ANSWERS)
def test_the_result_is_the_signal(kind: str, value: Any) -> None:
    """A signalled condition succeeds with the value of the signal, in its type, as its only output."""
    lab = Lab()
    run = asked(lab, kind)
    assert run.phase is ActionPhase.PAUSED
    assert lab.client.signal(run.action, value, "ada") is SignalOutcome.STORED
    lab.settle()
    found = run.result(0)
    assert (found, type(found)) == (value, type(value))
    assert lab.client.result(run.action, 0) == value
    assert run.outcomes(0) == [value]


def test_a_child_condition_has_its_name() -> None:
    """Below a parent, the condition is a child of that run under its own name; asked again it is the same."""
    lab = Lab()
    lab.client.condition("plan", run="r")
    for _ in range(2):
        child = lab.client.condition("ship", "int", run="r", parent="a0")
        assert str(child.action).endswith("/r/ship")
    record = lab.client.get(child.action)
    assert (record.spec.parent_action_name, record.spec.short_name) == ("a0", "ship")
    with pytest.raises(ActionConflict):
        lab.client.condition("ship", "str", run="r", parent="a0")


def test_a_key_names_a_question() -> None:
    """The same idempotency key asks once."""
    lab = Lab()
    first, second = (lab.client.condition("go", idempotency_key="order-17") for _ in range(2))
    assert first.action == second.action


def test_days_may_pass() -> None:
    """A timeout of days is kept: an answer within it counts, silence ends the condition in TIMED_OUT."""
    lab = Lab()
    answered, silent = (asked(lab, timeout=timedelta(days=3), name=name) for name in ("one", "two"))
    lab.clock.advance(timedelta(days=2))
    lab.client.signal(answered.action, True)
    lab.settle()
    assert answered.result(0) is True
    with pytest.raises(ActionTimedOut, match="without a signal"):
        silent.result(0)
    assert lab.clock() - lab.get(silent.action).metadata.creation_timestamp == 3 * 86_400_000


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"type": "date"}, "one of bool, int, float, str, got 'date'"),
        ({"prompt": "x" * 4097}, "the prompt has 4097 characters, at most 4096"),
        ({"description": "x" * 2049}, "the description has 2049 characters, at most 2048"),
        ({"timeout": timedelta(0)}, "the timeout must be positive"),
        ({"timeout": timedelta(seconds=-1)}, "the timeout must be positive"),
        ({"timeout": timedelta(days=3651)}, "at most 3650 days"),
        ({"webhook": "ftp://example.org"}, "the webhook must be an http or https URL"),
        ({"webhook": "https://"}, "the webhook must be an http or https URL"),
        ({"webhook": "http://[::1"}, "the webhook must be an http or https URL"),
        ({"name": ""}, "a condition needs a name"),
        ({"parent": "a0"}, "with a parent the run of that parent"),
    ],
)
def test_malformed_questions_are_refused_at_the_door(fields: dict[str, Any], text: str) -> None:
    """A condition nobody could answer, or that says too much, is refused before anything is stored."""
    lab = Lab()
    with pytest.raises(InvalidSpec, match=text):
        asked(lab, **fields)
    assert lab.client.runs() == []


def test_the_longest_texts_are_accepted() -> None:
    """Prompt and description may be as long as the limits, and a webhook may be given."""
    lab = Lab()
    run = asked(lab, prompt="x" * 4096, description="x" * 2048, webhook="https://example.org/hook")
    assert run.phase is ActionPhase.PAUSED


def test_a_document_that_is_no_spec_is_refused() -> None:
    """The door is the same for conditions that are submitted as a bare spec."""
    with pytest.raises(InvalidSpec, match="conditionSpec cannot be read"):
        Lab().run(ActionSpec(action_type=CONDITION, condition_spec=b"nonsense"))


def test_a_child_with_a_bad_name_is_refused() -> None:
    """Below a parent the name must be one an action can have."""
    lab = Lab()
    lab.client.condition("plan", run="r")
    with pytest.raises(InvalidName):
        lab.client.condition("Ship it?", run="r", parent="a0")


# -- answering ---------------------------------------------------------------------------------------------------------
def test_a_signal_wakes_the_shard() -> None:
    """The wake-up message is sent, for the first answer and for its repetition; the first sender may have died."""
    lab = Lab()
    run = asked(lab)
    lab.messenger.wakes.clear()
    for outcome in (SignalOutcome.STORED, SignalOutcome.SAME):
        assert lab.client.signal(run.action, True) is outcome
    assert [wake.shard for wake in lab.messenger.wakes] == [lab.store.shard_of(run.id)] * 2


def test_a_lost_wake_up_is_sent_by_the_resync() -> None:
    """Who signals may die before the message is sent: the signal stands, and the resync sweep wakes the shard."""
    lab = Lab()
    run = asked(lab)
    assert lab.store.signal(run.action, Signal(value=True)) is SignalOutcome.STORED
    lab.messenger.wakes.clear()
    assert resync(lab.store, lab.messenger) == 0
    lab.clock.advance(GRACE + 1)
    assert resync(lab.store, lab.messenger) == 1
    assert lab.messenger.wakes == [Wake(lab.store.shard_of(run.id))]


def test_who_answers_is_kept() -> None:
    """Without a name the signal is stored under the user of this process; the first name stands."""
    lab = Lab()
    run = asked(lab)
    lab.client.signal(run.action, True)
    lab.client.signal(run.action, True, "bob")
    signal = lab.get(run.action).signal
    assert signal is not None
    assert signal.by == whoami()


@pytest.mark.parametrize(
    "value", [None, [1], {"a": 1}, b"x", float("nan"), float("inf"), 2**63, Colour.RED, "\ud800"]
)
def test_only_scalars_are_taken(value: Any) -> None:
    """What JSON cannot carry as a scalar is refused, before it is even asked whether the condition exists."""
    lab = Lab()
    nobody = ActionId("p", "d", "nobody", "a0")
    for action in (nobody, asked(lab, "str").action):
        assert isinstance(refusal(lab, action, value), InvalidArguments)


def test_a_long_text_is_refused() -> None:
    """An answer rides in the record, so its size is bounded."""
    lab = Lab()
    assert "at most 65536" in str(refusal(lab, asked(lab, "str").action, "x" * 65_536))


def test_unknown_and_other_actions_are_told_apart() -> None:
    """A signal to nobody is ActionNotFound, one to a task NotACondition, whatever the value is."""
    lab = Lab()
    assert isinstance(refusal(lab, ActionId("p", "d", "nobody", "a0"), 1), ActionNotFound)
    assert isinstance(refusal(lab, lab.submit("anything"), 1), NotACondition)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("bool", 1), ("bool", "yes"), ("int", True), ("int", 1.0), ("float", True), ("float", "1"), ("str", 1)],
)
def test_the_value_must_have_the_declared_type(kind: str, value: Any) -> None:
    """A value of another type is refused with the type that is expected; a bool is no number."""
    lab = Lab()
    error = refusal(lab, asked(lab, kind).action, value)
    assert isinstance(error, InvalidArguments)
    assert f"expects a value of type {kind}" in str(error)


def test_an_int_will_do_for_a_float() -> None:
    """An int is stored as the float it stands for, so that the float again is the same answer."""
    lab = Lab()
    run = asked(lab, "float")
    assert lab.client.signal(run.action, 2) is SignalOutcome.STORED
    assert lab.client.signal(run.action, 2.0) is SignalOutcome.SAME
    lab.settle()
    assert isinstance(run.result(0), float)


@pytest.mark.parametrize("other", [False, "yes"], ids=["same type", "other type"])
def test_the_first_answer_stands(other: Any) -> None:
    """Another value is refused before and after the end, also one of another type; the same one is fine."""
    lab = Lab()
    run = asked(lab)
    lab.client.signal(run.action, True)
    for _ in range(2):
        assert lab.client.signal(run.action, True) is SignalOutcome.SAME
        assert isinstance(refusal(lab, run.action, other), SignalRefused)
        lab.settle()
    assert run.result(0) is True


@pytest.mark.parametrize("value", [True, "yes"], ids=["its type", "other type"])
@pytest.mark.parametrize("end", ["timed out", "aborting", "aborted"])
def test_an_end_takes_no_answer(end: str, value: Any) -> None:
    """A condition that has ended, or is being aborted, refuses a signal before it looks at its type."""
    lab = Lab()
    run = asked(lab, timeout=timedelta(minutes=1))
    if end != "timed out":
        run.abort("not needed")
    if end != "aborting":
        lab.settle()
    assert isinstance(refusal(lab, run.action, value), SignalRefused)


def last_event(lab: Lab, run: Run[Any]) -> ActionEvent:
    """Return the event that ends a run."""
    lab.settle()
    event = run.events()[-1]
    assert event.final
    return event


@pytest.mark.rule("R53")
@pytest.mark.parametrize("end", [ActionPhase.SUCCEEDED, ActionPhase.TIMED_OUT, ActionPhase.ABORTED])
def test_no_event_promises_objects(end: ActionPhase) -> None:
    """However a condition ends, its events name no folder: it never writes an object."""
    lab = Lab()
    run = asked(lab, timeout=timedelta(minutes=1))
    if end is ActionPhase.SUCCEEDED:
        lab.client.signal(run.action, True)
    elif end is ActionPhase.ABORTED:
        run.abort("not needed")
    assert last_event(lab, run).phase is end
    assert {event.output_prefix for event in run.events()} == {""}


@pytest.mark.rule("R15")
def test_who_and_why_are_bounded() -> None:
    """Names of who signals or aborts, and why, are cut and cleaned before they get into every record below."""
    lab = Lab()
    asked, other = lab.client.condition("one"), lab.client.condition("two")
    lab.step()
    lab.client.signal(asked.action, True, by="\ud800" * 1000)
    lab.client.abort(other.action, "r" * 5000, actor="a" * 1000)
    signal, deletion = lab.get(asked.action).signal, lab.get(other.action).metadata.deletion
    assert signal is not None
    assert deletion is not None
    assert (len(signal.by), len(deletion.actor), len(deletion.reason)) == (256, 256, 1024)


@pytest.mark.rule("R15")
def test_an_endless_name_is_refused_at_the_door() -> None:
    """The name of a condition has a bound like its prompt; nothing is stored."""
    with pytest.raises(InvalidSpec, match="the name has 300 characters, at most 256 are allowed"):
        Lab().client.condition("n" * 300)

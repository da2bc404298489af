from __future__ import annotations

import pytest
from support import (
    claimed,
    committed,
    created,
    due_time,
    finish,
    get,
    make_action,
    release_write,
)

from reconciler.api.action import Deletion, Signal, TaskAction
from reconciler.stores.base import SignalOutcome, Store

pytestmark = pytest.mark.rule("R54")
VALUES = [True, False, 0, 1, -7, 2**53, 1.5, "", "yes", 'q"uote', "ünïcode"]


def waiting(store: Store) -> TaskAction:
    """Return a condition that waits for ever."""
    action = make_action(condition=True)
    created(store, action)
    committed(store, release_write(claimed(store, action)))
    assert due_time(store, action) is None
    return action


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_signal_is_stored_and_wakes(store: Store, value: float | str) -> None:
    """A scalar answer is kept as it was given, with who gave it and when, and makes the condition due."""
    action = waiting(store)
    before = store.now()
    assert store.signal(action.id, Signal(value=value, by="ada")) is SignalOutcome.STORED
    signal = get(store, action).signal
    assert signal is not None
    assert (signal.value, type(signal.value), signal.by) == (value, type(value), "ada")
    assert before <= signal.at <= store.now()
    at = due_time(store, action)
    assert at is not None
    assert at <= store.now()


def test_the_same_value_again_is_fine(store: Store) -> None:
    """Repeating an answer changes nothing, whoever repeats it."""
    action = waiting(store)
    store.signal(action.id, Signal(value="yes", by="ada"))
    assert store.signal(action.id, Signal(value="yes", by="bob")) is SignalOutcome.SAME
    signal = get(store, action).signal
    assert signal is not None
    assert signal.by == "ada"


def test_another_run_of_the_name_is_not_meant(store: Store) -> None:
    """Who names the incarnation of its run answers no condition of a later one."""
    action = waiting(store)
    own = get(store, action).metadata.incarnation
    assert store.signal(action.id, Signal(value=True), incarnation=f"{own}x") is SignalOutcome.MISSING
    assert get(store, action).signal is None
    assert store.signal(action.id, Signal(value=True), incarnation=own) is SignalOutcome.STORED


@pytest.mark.parametrize(("first", "second"), [("yes", "no"), (True, 1), (1, 1.5), ("1", 1), (False, "")])
def test_another_value_is_refused(store: Store, first: float | str, second: float | str) -> None:
    """The first answer stands; values of different kinds are different."""
    action = waiting(store)
    store.signal(action.id, Signal(value=first))
    assert store.signal(action.id, Signal(value=second)) is SignalOutcome.OTHER
    signal = get(store, action).signal
    assert signal is not None
    assert signal.value == first


def test_an_ended_condition_takes_no_signal(store: Store) -> None:
    """After its end a condition cannot be answered any more."""
    action = make_action(condition=True)
    created(store, action)
    finish(store, action)
    assert store.signal(action.id, Signal(value=1)) is SignalOutcome.ENDED
    assert get(store, action).signal is None


def test_an_aborting_condition_takes_no_signal(store: Store) -> None:
    """An abort that is stored wins over an answer that comes later."""
    action = waiting(store)
    store.request_abort(action.id, Deletion(reason="no"))
    assert store.signal(action.id, Signal(value=1)) is SignalOutcome.ENDED


def test_an_answered_condition_knows_its_answer_after_the_end(store: Store) -> None:
    """Repeating the answer is still fine when it has taken effect."""
    action = waiting(store)
    store.signal(action.id, Signal(value=1))
    finish(store, action)
    assert store.signal(action.id, Signal(value=1)) is SignalOutcome.SAME
    assert store.signal(action.id, Signal(value=2)) is SignalOutcome.OTHER


def test_only_conditions_take_signals(store: Store) -> None:
    """A task cannot be answered, and nobody can answer what does not exist."""
    created(store, make_action())
    assert store.signal(make_action().id, Signal(value=1)) is SignalOutcome.NOT_A_CONDITION
    assert store.signal(make_action("ghost").id, Signal(value=1)) is SignalOutcome.MISSING
    assert store.get(make_action("ghost").id) is None


@pytest.mark.rule("R53")
def test_a_signal_during_a_step_is_kept(store: Store) -> None:
    """An answer that comes while a step holds the condition survives its write and is seen right after."""
    action = waiting(store)
    held = claimed(store, action)
    assert store.signal(action.id, Signal(value="now")) is SignalOutcome.STORED
    committed(store, release_write(held))
    at = due_time(store, action)
    assert at is not None
    assert at <= store.now()
    signal = claimed(store, action).signal
    assert signal is not None
    assert signal.value == "now"

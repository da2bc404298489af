"""What counts as a change, and how conditions, history and status are kept (R6, R12, R13, R14, R15)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from control_support import FULL, TYPE, history, lab_of, phases, record, stored

from reconciler.api.action import ActionId
from reconciler.api.errors import ActionNotFound, InvalidInput, Superseded
from reconciler.api.event import ActionEvent
from reconciler.api.status import ActionStatus, is_terminal
from reconciler.api.status_conditions import (
    HISTORY_LIMIT,
    Condition,
    ConditionStatus,
    ConditionType,
    ErrorState,
    PhaseTransition,
    cut,
)
from reconciler.api.transition import (
    CacheStatus,
    ErrorKind,
    ExecutionError,
    ExternalResource,
    OutputRef,
    TaskInfo,
    queued,
    retryable_failure,
    running,
    success,
)
from reconciler.controller.round import commit_one
from reconciler.core.events import build_event, check_event, observed_cache_status
from reconciler.core.status_conditions import (
    append_history,
    error_state_of,
    map_phase,
    set_condition,
    status_changed,
    terminal_time,
)

PROGRESSING = ConditionType.PROGRESSING
TRUE, FALSE = ConditionStatus.TRUE, ConditionStatus.FALSE
EMPTY = ActionStatus()


# -- conditions (R12) -------------------------------------------------------------------------------------------
@pytest.mark.rule("R12")
def test_a_new_condition_is_appended() -> None:
    """The first condition of a type gets the current time; the list keeps the order of insertion."""
    status = set_condition(EMPTY, ConditionType.FAILED, TRUE, "Aborted", "x", 5)
    status = set_condition(status, PROGRESSING, FALSE, "Aborted", "y", 6)
    assert status.conditions == (
        Condition(ConditionType.FAILED, TRUE, "Aborted", "x", 5),
        Condition(PROGRESSING, FALSE, "Aborted", "y", 6),
    )


@pytest.mark.rule("R12")
@pytest.mark.parametrize(("value", "at"), [(TRUE, 5), (FALSE, 9)])
def test_the_time_of_a_condition_moves_only_with_its_status(value: ConditionStatus, at: int) -> None:
    """Reason and message are replaced in place; the time changes only when the status does."""
    status = set_condition(EMPTY, PROGRESSING, TRUE, "Queued", "a", 5)
    status = set_condition(status, PROGRESSING, value, "Executing", "b", 9)
    assert status.conditions == (Condition(PROGRESSING, value, "Executing", "b", at),)


@pytest.mark.rule("R12")
@pytest.mark.parametrize(
    ("kind", "value", "terminal"),
    [
        (ConditionType.SUCCEEDED, TRUE, True),
        (ConditionType.FAILED, TRUE, True),
        (ConditionType.FAILED, FALSE, False),
        (ConditionType.SUCCEEDED, ConditionStatus.UNKNOWN, False),
        (PROGRESSING, FALSE, False),
        (PROGRESSING, TRUE, False),
    ],
)
def test_terminal_is_succeeded_or_failed(kind: ConditionType, value: ConditionStatus, terminal: bool) -> None:  # noqa: FBT001  # a table
    """Only Succeeded=True and Failed=True are an end."""
    status = set_condition(EMPTY, kind, value, "R", "", 5)
    assert is_terminal(status) is terminal
    assert terminal_time(status) == (5 if terminal else 0)


# -- history (R13) ----------------------------------------------------------------------------------------------
@pytest.mark.rule("R13")
def test_history_skips_repeats_of_the_last_entry() -> None:
    """A, A, B, A is kept as A, B, A, each with the time it was entered."""
    status = EMPTY
    for at, phase in enumerate("AABA"):
        status = append_history(status, phase, f"at {at}", at)
    assert status.phase_history == (
        PhaseTransition("A", 0, "at 0"),
        PhaseTransition("B", 2, "at 2"),
        PhaseTransition("A", 3, "at 3"),
    )


@pytest.mark.rule("R13")
def test_history_uses_the_controllers_clock() -> None:
    """A plugin's own time is not the time of the history."""
    lab = lab_of(queued(123, 0, "sent"))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    assert lab.get(action).status.phase_history[0].occurred_at == lab.clock()


@pytest.mark.rule("R15")
def test_history_is_bounded() -> None:
    """However often the phase changes, the first entry and the newest ones are kept."""
    status = EMPTY
    for at in range(500):
        status = append_history(status, str(at), "", at)
    kept = [entry.phase for entry in status.phase_history]
    assert kept == ["0", *map(str, range(500 - HISTORY_LIMIT + 1, 500))]


@pytest.mark.rule("R15")
def test_long_messages_are_cut() -> None:
    """Text is cut to the limit, with a note of its length; shorter text is kept as it is."""
    assert cut("x" * 20, 20) == "x" * 20
    assert cut("x" * 100, 40) == "x" * 17 + "… (100 characters, cut)"
    assert len(cut("x" * 5000)) == 4096


# -- error state (R14) ------------------------------------------------------------------------------------------
@pytest.mark.rule("R14")
@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (None, None),
        (ExecutionError("C", "m"), ErrorState("C", "", "m")),
        (ExecutionError("C", "m", ErrorKind.USER), ErrorState("C", "USER", "m")),
        (ExecutionError("C", "m", ErrorKind.SYSTEM), ErrorState("C", "SYSTEM", "m")),
    ],
)
def test_error_state(error: ExecutionError | None, kept: ErrorState | None) -> None:
    """No error stays none; an unknown kind is the empty string."""
    assert error_state_of(error) == kept


# -- what counts as a change (R6) ------------------------------------------------------------------------------
@pytest.mark.rule("R6")
@pytest.mark.parametrize(
    "change",
    [
        {"plugin_state_version": 1},
        {"plugin_phase": "PhaseRunning"},
        {"plugin_phase_version": 1},
        {"attempts": 1},
        {"system_failures": 1},
        {"cache_status": CacheStatus.HIT},
        {"plugin_state": b"x"},
        {"phase_history": (PhaseTransition("Queued", 1),)},
        {"conditions": (Condition(PROGRESSING, TRUE, "Queued", "", 1),)},
        {"launches": 1},
        {"total_system_failures": 1},
        {"not_before": 1},
        {"running_at": 1},
        {"launched": True},
        {"outputs": OutputRef(uri="s3://b/o")},
        {"cache_token": 1},
        {"cleanup_tries": 1},
        {"cleanup_error": "x"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_counts_as_a_change(change: dict[str, Any]) -> None:
    """Each of these fields makes a round worth a write."""
    assert status_changed(EMPTY, msgspec.structs.replace(EMPTY, **change))


@pytest.mark.rule("R6")
@pytest.mark.parametrize("part", ["type", "status", "reason", "message", "last_transition_time"])
def test_conditions_are_compared_in_depth(part: str) -> None:
    """A difference in any part of a condition, or in their order, is a change."""
    first = Condition(PROGRESSING, TRUE, "Queued", "", 1)
    values = {
        "type": ConditionType.FAILED,
        "status": FALSE,
        "reason": "Executing",
        "message": "m",
        "last_transition_time": 2,
    }
    other = msgspec.structs.replace(first, **{part: values[part]})
    assert status_changed(ActionStatus(conditions=(first,)), ActionStatus(conditions=(other,)))
    pair = (first, Condition(ConditionType.FAILED, FALSE, "R", "", 1))
    assert status_changed(ActionStatus(conditions=pair), ActionStatus(conditions=pair[::-1]))


@pytest.mark.rule("R6")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"state_at": 1}, {"state_at": 2}),
        ({"error_state": None}, {"error_state": ErrorState("C", "USER", "m")}),
        ({"phase_history": (PhaseTransition("A", 1),)}, {"phase_history": (PhaseTransition("A", 2),)}),
    ],
    ids=["time stamp", "error state", "an old entry"],
)
def test_what_is_no_change(old: dict[str, Any], new: dict[str, Any]) -> None:
    """A newer time stamp alone, an error state alone and the contents of old entries are not worth a write."""
    assert not status_changed(ActionStatus(**old), ActionStatus(**new))


@pytest.mark.rule("R6")
def test_a_round_that_finds_nothing_new_writes_nothing() -> None:
    """Same phase, version and reason again: no event, no new version of the record, only the next look."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    before = lab.get(action)
    lab.clock.advance(5000)
    lab.journal.clear()
    lab.reconcile(action)
    after = lab.get(action)
    assert lab.journal.words == ["handle"]
    assert (after.version, after.events, after.state_json) == (
        before.version,
        before.events,
        before.state_json,
    )


# -- publishing (R6) -------------------------------------------------------------------------------------------
@pytest.mark.rule("R6")
def test_publishing_an_unchanged_status_does_nothing() -> None:
    """Called on a record that was merely read, no change is no claim, no event and no write."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    lab.reconciler.update_task_action_status(found.copy(), found, running(0))
    after = lab.get(found.id)
    assert (after.version, after.token, after.events) == (found.version, 0, 1)


@pytest.mark.rule("R6")
def test_publishing_a_changed_status_stores_event_and_status() -> None:
    """Called on a record that was merely read, a change is stored with its event, and the action is due at once."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    old = found.copy()
    found.status = map_phase(found.status, running(2), lab.clock())
    lab.reconciler.update_task_action_status(old, found, running(2))
    assert history(lab.get(found.id)) == ["Executing"]
    assert phases(lab, found.id) == [("queued", 1, False), ("running", 1, False)]
    assert lab.events(found.id)[-1].version == 2
    assert lab.store.due(lab.store.shard_of(found.id.run_id)) == [(found.id, lab.clock())]


@pytest.mark.rule("R6")
def test_the_old_status_is_for_comparison_only() -> None:
    """A change that others made meanwhile is no conflict: the status is replaced on the newest record."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    old = found.copy()
    lab.client.abort(found.id, "stop")
    found.status = map_phase(found.status, running(0), lab.clock())
    lab.reconciler.update_task_action_status(old, found, running(0))
    after = lab.get(found.id)
    assert history(after) == ["Executing"]
    assert after.metadata.deletion is not None


@pytest.mark.rule("R6")
def test_an_event_that_cannot_be_placed_stops_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event without a full identity is refused: audited, raised, nothing written, and the action is free again."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    old = found.copy()
    found.set_status(attempts=1)

    def nameless(*args: Any) -> ActionEvent:
        return msgspec.structs.replace(build_event(*args), id=ActionId("", "d", "r", "a"))

    monkeypatch.setattr("reconciler.controller.round.build_event", nameless)
    with pytest.raises(InvalidInput, match="an event needs project"):
        lab.reconciler.update_task_action_status(old, found, running(0))
    assert lab.get(found.id).status.attempts == 0
    assert len(lab.events(found.id)) == 1
    (entry,) = lab.audit()
    assert (entry.reason, entry.action) == ("ActionEventPublishFailed", "PublishingActionEvent")
    monkeypatch.undo()
    assert lab.reconcile(found.id).woken


@pytest.mark.rule("R6")
def test_the_status_of_an_ended_action_cannot_be_replaced() -> None:
    """A late change of an action that has ended is refused, and says so."""
    lab = lab_of(success())
    action = lab.submit(TYPE)
    lab.settle()
    found = lab.get(action)
    old = found.copy()
    found.status = map_phase(found.status, running(0), lab.clock())
    with pytest.raises(Superseded, match="has ended"):
        lab.reconciler.update_task_action_status(old, found, running(0))
    assert phases(lab, action)[-1] == ("succeeded", 1, True)


@pytest.mark.rule("R6")
def test_a_record_that_is_gone_cannot_be_written() -> None:
    """A change of a record nobody holds any more is an error."""
    lab = lab_of(running(0))
    found = record(FULL)
    old = found.copy()
    found.set_status(attempts=1)
    with pytest.raises(ActionNotFound):
        lab.reconciler.update_task_action_status(old, found, running(0))


@pytest.mark.rule("R6")
def test_a_record_that_vanishes_under_a_claim_is_an_error() -> None:
    """When the record is forgotten between claim and commit, the round says so."""
    lab = lab_of(running(0))
    action = stored(lab)
    shard = lab.store.shard_of(action.run_id)
    (claimed,) = lab.store.claim(shard, owner="t", limit=0, named=[action]).actions
    _, write = lab.reconciler.round(claimed)
    lab.store._shards[shard].records.clear()
    with pytest.raises(ActionNotFound):
        commit_one(lab.reconciler, write)


@pytest.mark.rule("R32")
def test_a_retryable_failure_never_looks_final() -> None:
    """The event of a failed attempt ends the attempt, not the action, whoever builds it."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    assert not lab.reconciler.build_action_event(found, retryable_failure("E", "x")).final


@pytest.mark.rule("R59")
def test_an_event_needs_an_attempt() -> None:
    """An event of attempt 0 is refused: consumers could not place it."""
    lab = lab_of(running(0))
    event = lab.reconciler.build_action_event(lab.get(stored(lab)), running(0))
    check_event(event)
    with pytest.raises(InvalidInput, match="attempt above 0, got 0"):
        check_event(msgspec.structs.replace(event, attempt=0))


@pytest.mark.rule("R47")
@pytest.mark.parametrize(
    ("resources", "shown"),
    [
        ((), CacheStatus.DISABLED),
        ((None, ExternalResource(), ExternalResource(cache_status=CacheStatus.MISS)), CacheStatus.MISS),
        (
            (ExternalResource(cache_status=CacheStatus.HIT), ExternalResource(cache_status=CacheStatus.MISS)),
            CacheStatus.HIT,
        ),
    ],
    ids=["none", "empty ones are skipped", "the first wins"],
)
def test_the_cache_status_shown(resources: Any, shown: CacheStatus) -> None:
    """The first external resource that says something about the cache is what users see."""
    assert observed_cache_status(TaskInfo(external_resources=resources)) is shown
    assert observed_cache_status(None) is CacheStatus.DISABLED

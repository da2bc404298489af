"""From what a plugin reports to what records, events and views say (R16, R17, R18, R19, R35)."""

from __future__ import annotations

from typing import Any

import pytest
from control_support import TYPE, condition, history, lab_of, record

from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.status import ActionStatus
from reconciler.api.status_conditions import Condition, ConditionStatus, ConditionType, ErrorState
from reconciler.api.transition import (
    ErrorKind,
    ExecutionError,
    PhaseInfo,
    TaskInfo,
    Transition,
    TransitionType,
    aborted,
    failed,
    failure,
    initializing,
    not_ready,
    queued,
    retryable_failure,
    running,
    success,
    system_failure,
    system_retryable_failure,
    waiting_for_cache,
    waiting_for_resources,
)
from reconciler.core.status_conditions import (
    TIMEOUT_CODES,
    action_phase,
    event_phase,
    failure_reason,
    map_phase,
)

P, A = PluginPhase, ActionPhase
NAMES = [
    "PhaseUndefined",
    "PhaseNotReady",
    "PhaseWaitingForResources",
    "PhaseQueued",
    "PhaseInitializing",
    "PhaseRunning",
    "PhaseSuccess",
    "PhaseRetryableFailure",
    "PhasePermanentFailure",
    "PhaseWaitingForCache",
    "PhaseAborted",
]
USER, SYSTEM = ErrorKind.USER, ErrorKind.SYSTEM
INFO = TaskInfo(occurred_at=7)
DONE_TEXT = "TaskAction completed successfully"


@pytest.mark.rule("R16")
@pytest.mark.parametrize(("number", "name"), list(enumerate(NAMES)))
def test_plugin_phases(number: int, name: str) -> None:
    """Numbers and stored names are those of the protocol, and a stored name is read back."""
    phase = PluginPhase(number)
    assert phase.label == name
    assert PluginPhase.from_label(name) is phase
    assert phase.is_failure() is (number in {7, 8})
    assert phase.is_success() is (number == 6)
    assert phase.is_aborted() is (number == 10)
    assert phase.is_terminal() is (number in {6, 7, 8, 10})
    assert phase.is_waiting_for_resources() is (number == 2)


@pytest.mark.rule("R16")
@pytest.mark.parametrize("label", ["", "PhaseOfTheMoon"])
def test_an_unknown_name_is_undefined(label: str) -> None:
    """Nothing and nonsense are no phase."""
    assert PluginPhase.from_label(label) is PluginPhase.UNDEFINED


@pytest.mark.rule("R19")
def test_action_phases_have_the_numbers_of_the_protocol() -> None:
    """Consumers order by these numbers."""
    expected = ["UNSPECIFIED", "QUEUED", "WAITING_FOR_RESOURCES", "INITIALIZING", "RUNNING", "SUCCEEDED"]
    expected += ["FAILED", "ABORTED", "TIMED_OUT", "PAUSED", "RECOVERED"]
    assert [p.name for p in sorted(ActionPhase)] == expected
    assert [int(p) for p in sorted(ActionPhase)] == list(range(11))


# -- constructors (R17) -----------------------------------------------------------------------------------------
@pytest.mark.rule("R17")
@pytest.mark.parametrize(
    ("info", "phase", "version", "kind", "reason"),
    [
        (not_ready(5, 2, "r"), P.NOT_READY, 2, None, "r"),
        (waiting_for_resources(5, 2, "r"), P.WAITING_FOR_RESOURCES, 2, None, "r"),
        (queued(5, 2, "r"), P.QUEUED, 2, None, "r"),
        (initializing(5, 2, "r"), P.INITIALIZING, 2, None, "r"),
        (running(2), P.RUNNING, 2, None, ""),
        (success(), P.SUCCESS, 0, None, ""),
        (aborted(5, 2, "r"), P.ABORTED, 2, None, "r"),
        (waiting_for_cache(2), P.WAITING_FOR_CACHE, 2, None, ""),
        (failed(P.PERMANENT_FAILURE, None), P.PERMANENT_FAILURE, 0, None, ""),
        (failure("C", "m"), P.PERMANENT_FAILURE, 0, USER, ""),
        (system_failure("C", "m"), P.PERMANENT_FAILURE, 0, SYSTEM, ""),
        (retryable_failure("C", "m"), P.RETRYABLE_FAILURE, 0, USER, ""),
        (system_retryable_failure("C", "m"), P.RETRYABLE_FAILURE, 0, SYSTEM, ""),
    ],
    ids=lambda part: getattr(part, "name", None) or "",
)
def test_constructors(info: PhaseInfo, phase: PluginPhase, version: int, kind: Any, reason: str) -> None:
    """Each gives its phase, version, reason, error kind, details, and no clean-up flag."""
    assert (info.phase, info.version, info.reason, info.cleanup_on_failure) == (phase, version, reason, False)
    assert info.info is not None
    assert (info.err.kind if info.err else None) == kind
    if kind is not None:
        assert info.err is not None
        assert (info.err.code, info.err.message) == ("C", "m")


@pytest.mark.rule("R17")
@pytest.mark.parametrize("make", [not_ready, waiting_for_resources, queued, initializing, aborted])
def test_timed_constructors_note_the_time(make: Any) -> None:
    """The time goes into details the constructor makes itself."""
    assert make(5, 0, "r").info == TaskInfo(occurred_at=5)


@pytest.mark.rule("R17")
@pytest.mark.parametrize("make", [waiting_for_resources, queued, initializing])
def test_details_of_ones_own_win(make: Any) -> None:
    """Given details are taken as they are, the time argument is ignored."""
    assert make(5, 0, "r", INFO).info is INFO


@pytest.mark.rule("R17")
@pytest.mark.parametrize("make", [failure, system_failure, retryable_failure, system_retryable_failure])
def test_failures_may_ask_for_clean_up(make: Any) -> None:
    """Each failure has a variant that asks for its resource to be stopped."""
    assert make("C", "m", cleanup=True).cleanup_on_failure


@pytest.mark.rule("R35")
def test_another_version_keeps_everything_else() -> None:
    """A copy with another version has the clean-up flag and all other parts."""
    info = failure("C", "m", INFO, cleanup=True)
    other = info.with_version(9)
    assert (other.version, other.cleanup_on_failure, other.err, other.info) == (9, True, info.err, INFO)
    assert info.version == 0


@pytest.mark.rule("R17")
@pytest.mark.parametrize(
    ("present", "added", "joined"), [("a", "b", "a, b"), ("", "b", "b"), ("a", "", "a, ")]
)
def test_reasons_are_joined(present: str, added: str, joined: str) -> None:
    """A further reason is joined by a comma, or replaces an empty one."""
    assert queued(0, 0, present).with_reason(added).reason == joined


@pytest.mark.rule("R18")
def test_transitions_are_ephemeral() -> None:
    """There are no barriers any more."""
    assert Transition(running(0)).type is TransitionType.EPHEMERAL


# -- the table (R19) --------------------------------------------------------------------------------------------
PROGRESS = [
    (not_ready(0, 0, "why"), "Queued", A.QUEUED, A.QUEUED),
    (queued(0, 0, "why"), "Queued", A.QUEUED, A.QUEUED),
    (waiting_for_resources(0, 0, "why"), "Queued", A.WAITING_FOR_RESOURCES, A.WAITING_FOR_RESOURCES),
    (waiting_for_cache(0, None, "why"), "Queued", A.WAITING_FOR_RESOURCES, A.WAITING_FOR_RESOURCES),
    (initializing(0, 0, "why"), "Initializing", A.INITIALIZING, A.INITIALIZING),
    (running(0).with_reason("why"), "Executing", A.RUNNING, A.RUNNING),
    (retryable_failure("C", "why"), "RetryableFailure", A.FAILED, A.QUEUED),
    (failed(P.RETRYABLE_FAILURE, None).with_reason("why"), "RetryableFailure", A.FAILED, A.QUEUED),
]


@pytest.mark.rule("R19")
@pytest.mark.parametrize(
    ("info", "reason", "in_event", "in_view"), PROGRESS, ids=[info.phase.label for info, *_ in PROGRESS]
)
def test_phases_on_the_way(info: PhaseInfo, reason: str, in_event: ActionPhase, in_view: ActionPhase) -> None:
    """Progressing=True with reason and message, a history entry, and the phase events and views show."""
    status = map_phase(ActionStatus(plugin_phase=info.phase.label), info, 9)
    expected = Condition(ConditionType.PROGRESSING, ConditionStatus.TRUE, reason, "why", 9)
    assert status.conditions == (expected,)
    assert [(e.phase, e.occurred_at, e.message) for e in status.phase_history] == [(reason, 9, "why")]
    assert event_phase(info) is in_event
    assert action_phase(status) is in_view


def ended_by_us(code: str) -> PhaseInfo:
    """Make a permanent failure of the engine's own, told by its code. A plugin's is an ordinary one, whatever its code."""
    error = ExecutionError(code, "why")
    return failed(P.PERMANENT_FAILURE, error, failed_as=failure_reason(error))


ENDS = [
    (success(), "Succeeded", "Completed", "TaskAction has completed", DONE_TEXT, A.SUCCEEDED),
    (failure("C", "why"), "Failed", "PermanentFailure", "why", "why", A.FAILED),
    (
        failed(P.PERMANENT_FAILURE, None).with_reason("why"),
        "Failed",
        "PermanentFailure",
        "why",
        "why",
        A.FAILED,
    ),
    (ended_by_us("InvalidSpec"), "Failed", "InvalidSpec", "why", "why", A.FAILED),
    (ended_by_us("PluginNotFound"), "Failed", "PluginNotFound", "why", "why", A.FAILED),
    *[
        (failure(code, "why"), "Failed", "PermanentFailure", "why", "why", A.FAILED)
        for code in ("InvalidSpec", "PluginNotFound", *sorted(TIMEOUT_CODES))
    ],
    *[(ended_by_us(code), "Failed", "TimedOut", "why", "why", A.TIMED_OUT) for code in sorted(TIMEOUT_CODES)],
    *[
        (
            aborted(0, 0, reason),
            "Failed",
            "Aborted",
            "TaskAction was aborted",
            "TaskAction was aborted",
            A.ABORTED,
        )
        for reason in ("", "aborted")
    ],
    (
        aborted(0, 0, "by ann"),
        "Failed",
        "Aborted",
        "TaskAction was aborted: by ann",
        "TaskAction was aborted: by ann",
        A.ABORTED,
    ),
]


@pytest.mark.rule("R19")
@pytest.mark.parametrize(("info", "kind", "reason", "progress", "text", "phase"), ENDS)
def test_phases_at_the_end(
    info: PhaseInfo, kind: str, reason: str, progress: str, text: str, phase: ActionPhase
) -> None:
    """Progressing=False, Succeeded or Failed=True, a history entry; events and views agree (R19)."""
    status = map_phase(ActionStatus(plugin_phase=info.phase.label), info, 9)
    assert status.conditions == (
        Condition(ConditionType.PROGRESSING, ConditionStatus.FALSE, reason, progress, 9),
        Condition(ConditionType(kind), ConditionStatus.TRUE, reason, text, 9),
    )
    assert [(e.phase, e.message) for e in status.phase_history] == [(reason, text)]
    assert event_phase(info) is phase
    assert action_phase(status) is phase


@pytest.mark.rule("R19")
def test_an_undefined_phase_changes_nothing() -> None:
    """The raw undefined value leaves the status as it is and is UNSPECIFIED in an event."""
    status = map_phase(ActionStatus(), running(0), 3)
    undefined = PhaseInfo(phase=P.UNDEFINED)
    assert map_phase(status, undefined, 9) is status
    assert event_phase(undefined) is A.UNSPECIFIED


@pytest.mark.rule("R19")
@pytest.mark.parametrize(
    "info", [failure("C", "m"), retryable_failure("C", "m")], ids=["permanent", "retryable"]
)
def test_failures_replace_the_error_state(info: PhaseInfo) -> None:
    """Both failure phases store their error."""
    old = ActionStatus(error_state=ErrorState("OLD", "USER", "old"))
    assert map_phase(old, info, 9).error_state == ErrorState("C", "USER", "m")


@pytest.mark.rule("R19")
@pytest.mark.parametrize(
    "info", [success(), running(0), aborted(0, 0, ""), failed(P.PERMANENT_FAILURE, None)]
)
def test_other_phases_keep_the_error_state(info: PhaseInfo) -> None:
    """The last error is never cleared, also not by success."""
    error = ErrorState("OLD", "USER", "old")
    assert map_phase(ActionStatus(error_state=error), info, 9).error_state == error


@pytest.mark.rule("R19")
@pytest.mark.parametrize(
    ("kind", "value", "reason", "phase"),
    [
        (ConditionType.PROGRESSING, ConditionStatus.TRUE, "Paused", A.PAUSED),
        (ConditionType.FAILED, ConditionStatus.TRUE, "TimedOut", A.TIMED_OUT),
        (ConditionType.FAILED, ConditionStatus.TRUE, "Unheard", A.FAILED),
        (ConditionType.PROGRESSING, ConditionStatus.TRUE, "Unheard", A.QUEUED),
        (ConditionType.PROGRESSING, ConditionStatus.FALSE, "Aborted", A.QUEUED),
    ],
)
def test_further_rows_of_the_view(kind: Any, value: Any, reason: str, phase: ActionPhase) -> None:
    """Paused and timed-out conditions, and reasons nobody knows."""
    assert action_phase(ActionStatus(conditions=(Condition(kind, value, reason, "", 1),))) is phase


@pytest.mark.rule("R19")
def test_a_new_action_is_queued() -> None:
    """Without any condition an action is QUEUED, never unspecified."""
    assert action_phase(ActionStatus()) is A.QUEUED


@pytest.mark.rule("R19")
def test_the_first_matching_condition_wins() -> None:
    """Conditions are read in list order."""
    conditions = (
        Condition(ConditionType.SUCCEEDED, ConditionStatus.TRUE, "Completed", "", 1),
        Condition(ConditionType.FAILED, ConditionStatus.TRUE, "Aborted", "", 1),
    )
    assert action_phase(ActionStatus(conditions=conditions)) is A.SUCCEEDED
    assert action_phase(ActionStatus(conditions=conditions[::-1])) is A.ABORTED


@pytest.mark.rule("R19")
def test_a_failure_without_an_error_is_an_ordinary_one() -> None:
    """Nothing known is a permanent failure."""
    assert failure_reason(ExecutionError("C", "m")) == "PermanentFailure"


@pytest.mark.rule("R19")
@pytest.mark.parametrize(
    "answer", [info for info, *_ in PROGRESS[:6]], ids=[i.phase.label for i, *_ in PROGRESS[:6]]
)
def test_event_and_record_say_the_same(answer: PhaseInfo) -> None:
    """After a round the phase of the stored action is the phase of its newest event."""
    lab = lab_of(answer)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    found = lab.get(action)
    assert found.phase is lab.events(action)[-1].phase
    assert condition(found, ConditionType.PROGRESSING).message == answer.reason
    assert history(found)


@pytest.mark.rule("R19")
def test_a_plugin_that_says_aborted_ends_the_action() -> None:
    """An attempt that was aborted from outside ends the action in ABORTED."""
    lab = lab_of(aborted(0, 0, "pod deleted"))
    action = lab.submit(TYPE)
    lab.settle()
    assert lab.get(action).phase is A.ABORTED
    assert record().phase is A.QUEUED

"""Turn what a plugin reports into what a record says: conditions, history, error, action phase (R12, R13, R14, R6, R19)."""

from __future__ import annotations

from operator import attrgetter

import msgspec

from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.status import ActionStatus
from reconciler.api.status_conditions import (
    CODE_LIMIT,
    HISTORY_LIMIT,
    Condition,
    ConditionStatus,
    ConditionType,
    ErrorState,
    PhaseTransition,
    Reason,
    cut,
)
from reconciler.api.transition import ErrorKind, ExecutionError, PhaseInfo

replace = msgspec.structs.replace

TIMEOUT_CODES = frozenset({"QueuedTimedOut", "RunningTimedOut", "HeartbeatTimedOut", "DeadlineExceeded"})
"""Error codes that end an action in TIMED_OUT (R34)."""

_WAITING = frozenset({PluginPhase.WAITING_FOR_RESOURCES, PluginPhase.WAITING_FOR_CACHE})
_PROGRESS = {
    PluginPhase.NOT_READY: Reason.QUEUED,
    PluginPhase.QUEUED: Reason.QUEUED,
    PluginPhase.WAITING_FOR_RESOURCES: Reason.QUEUED,
    PluginPhase.WAITING_FOR_CACHE: Reason.QUEUED,
    PluginPhase.INITIALIZING: Reason.INITIALIZING,
    PluginPhase.RUNNING: Reason.EXECUTING,
    PluginPhase.RETRYABLE_FAILURE: Reason.RETRYABLE_FAILURE,
}
_EVENT_PHASE = {
    PluginPhase.UNDEFINED: ActionPhase.UNSPECIFIED,
    PluginPhase.NOT_READY: ActionPhase.QUEUED,
    PluginPhase.WAITING_FOR_RESOURCES: ActionPhase.WAITING_FOR_RESOURCES,
    PluginPhase.QUEUED: ActionPhase.QUEUED,
    PluginPhase.INITIALIZING: ActionPhase.INITIALIZING,
    PluginPhase.RUNNING: ActionPhase.RUNNING,
    PluginPhase.SUCCESS: ActionPhase.SUCCEEDED,
    PluginPhase.RETRYABLE_FAILURE: ActionPhase.FAILED,
    PluginPhase.PERMANENT_FAILURE: ActionPhase.FAILED,
    PluginPhase.WAITING_FOR_CACHE: ActionPhase.WAITING_FOR_RESOURCES,
    PluginPhase.ABORTED: ActionPhase.ABORTED,
}
DONE_PROGRESS = "TaskAction has completed"
DONE_SUCCESS = "TaskAction completed successfully"
DONE_ABORTED = "TaskAction was aborted"


def set_condition(
    status: ActionStatus, kind: ConditionType, value: ConditionStatus, reason: str, message: str, now: int
) -> ActionStatus:
    """Add or update the condition of that type; its time moves only when its status does (R12)."""
    return replace(
        status, conditions=_with(status.conditions, Condition(kind, value, reason, cut(message), now))
    )


def _with(conditions: tuple[Condition, ...], new: Condition) -> tuple[Condition, ...]:
    """Set one of the conditions: it keeps its place, and, with the same status, its time."""
    for index, old in enumerate(conditions):
        if old.type == new.type:
            if old.status == new.status:
                new = replace(new, last_transition_time=old.last_transition_time)
            return (*conditions[:index], new, *conditions[index + 1 :])
    return (*conditions, new)


def append_history(status: ActionStatus, phase: str, message: str, now: int) -> ActionStatus:
    """Append an entry unless the last one has the same phase; keep the first and the newest (R13, R15)."""
    history = _entered(status.phase_history, phase, message, now)
    return status if history is status.phase_history else replace(status, phase_history=history)


def _entered(
    history: tuple[PhaseTransition, ...], phase: str, message: str, now: int
) -> tuple[PhaseTransition, ...]:
    if history and history[-1].phase == phase:
        return history
    history = (*history, PhaseTransition(phase, now, cut(message, 1024)))
    if len(history) > HISTORY_LIMIT:
        history = (history[0], *history[len(history) - HISTORY_LIMIT + 1 :])
    return history


def error_state_of(err: ExecutionError | None) -> ErrorState | None:
    """Make the stored form of an error; an unknown kind becomes the empty string (R14)."""
    return None if err is None else ErrorState(err.code[:CODE_LIMIT], str(err.kind), cut(err.message))


def map_phase(status: ActionStatus, info: PhaseInfo, now: int) -> ActionStatus:
    """Derive conditions, history and error of a status after a phase was reported (R19)."""
    began = info.info.began_at if info.info is not None else 0
    return _begun(_mapped(status, info, now), status.phase_history, began)


def _begun(status: ActionStatus, before: tuple[PhaseTransition, ...], began: int) -> ActionStatus:
    """Note in an entry that is new when the run began, unless the entry before it tells of that run."""
    history = status.phase_history
    if not began or history is before or (before and before[-1].phase == Reason.EXECUTING):
        return status
    return replace(status, phase_history=(*history[:-1], replace(history[-1], began=began)))


def _mapped(status: ActionStatus, info: PhaseInfo, now: int) -> ActionStatus:
    phase = info.phase
    if phase is PluginPhase.SUCCESS:
        return _end(status, ConditionType.SUCCEEDED, Reason.COMPLETED, DONE_PROGRESS, DONE_SUCCESS, now)
    if phase is PluginPhase.ABORTED:
        text = cut(f"{DONE_ABORTED}: {info.reason}") if info.reason not in {"", "aborted"} else DONE_ABORTED
        return _end(status, ConditionType.FAILED, Reason.ABORTED, text, text, now)
    if phase is PluginPhase.UNDEFINED:
        return status
    text = info.err.message if phase.is_failure() and info.err else info.reason
    if phase.is_failure() and info.err:
        status = replace(status, error_state=error_state_of(info.err))
    if phase is PluginPhase.PERMANENT_FAILURE:
        return _end(status, ConditionType.FAILED, info.failed_as, text, text, now)
    reason = _PROGRESS[phase]
    status = set_condition(status, ConditionType.PROGRESSING, ConditionStatus.TRUE, reason, text, now)
    return append_history(status, reason, text, now)


def recovered(status: ActionStatus, source: str, now: int) -> ActionStatus:
    """Make the status of an action whose outputs are taken over from `source`: it has ended before it began."""
    text = f"taken over from {source}"
    return _end(status, ConditionType.SUCCEEDED, Reason.RECOVERED, DONE_PROGRESS, text, now)


def failure_reason(err: ExecutionError) -> Reason:
    """Choose the stored reason for an end made by the engine: time limits and rejected specs have their own."""
    if err.code in TIMEOUT_CODES:
        return Reason.TIMED_OUT
    if err.code in {Reason.INVALID_SPEC, Reason.PLUGIN_NOT_FOUND}:
        return Reason(err.code)
    return Reason.PERMANENT_FAILURE


def _end(
    status: ActionStatus, kind: ConditionType, reason: Reason, progress: str, text: str, now: int
) -> ActionStatus:
    stopped = Condition(ConditionType.PROGRESSING, ConditionStatus.FALSE, reason, cut(progress), now)
    ended = Condition(kind, ConditionStatus.TRUE, reason, cut(text), now)
    return replace(
        status,
        conditions=_with(_with(status.conditions, stopped), ended),
        phase_history=_entered(status.phase_history, reason, text, now),
    )


def event_phase(info: PhaseInfo) -> ActionPhase:
    """Choose the phase that an event of this plugin phase carries (R19)."""
    if info.phase.is_failure() and info.failed_as is Reason.TIMED_OUT:
        return ActionPhase.TIMED_OUT
    return _EVENT_PHASE[info.phase]


def action_phase(status: ActionStatus) -> ActionPhase:
    """Derive the phase of an action from its stored status alone: the same answer events give (R19)."""
    for condition in status.conditions:
        if condition.status is not ConditionStatus.TRUE:
            continue
        if condition.type is ConditionType.SUCCEEDED:
            recovered = condition.reason == Reason.RECOVERED
            return ActionPhase.RECOVERED if recovered else ActionPhase.SUCCEEDED
        if condition.type is ConditionType.FAILED:
            return _FAILED_PHASE.get(condition.reason, ActionPhase.FAILED)
        if PluginPhase.from_label(status.plugin_phase) in _WAITING:
            return ActionPhase.WAITING_FOR_RESOURCES
        return _PROGRESS_PHASE.get(condition.reason, ActionPhase.QUEUED)
    return ActionPhase.QUEUED


_FAILED_PHASE: dict[str, ActionPhase] = {
    Reason.ABORTED: ActionPhase.ABORTED,
    Reason.TIMED_OUT: ActionPhase.TIMED_OUT,
}
_PROGRESS_PHASE: dict[str, ActionPhase] = {
    Reason.INITIALIZING: ActionPhase.INITIALIZING,
    Reason.EXECUTING: ActionPhase.RUNNING,
    Reason.PAUSED: ActionPhase.PAUSED,
}


def terminal_time(status: ActionStatus) -> int:
    """Return when the action ended: the time of its first terminal condition; 0 when there is none (R36)."""
    for condition in status.conditions:
        if condition.status is ConditionStatus.TRUE and condition.type is not ConditionType.PROGRESSING:
            return condition.last_transition_time
    return 0


def status_changed(old: ActionStatus, new: ActionStatus) -> bool:
    """Tell whether a round changed enough for a write and an event (R6).

    `state_at`, `error_state` and the contents of earlier history entries are not looked at.
    """
    return (old is not new and _compared(old) != _compared(new)) or len(old.phase_history) != len(
        new.phase_history
    )


_compared = attrgetter(
    "plugin_phase", "conditions", "plugin_phase_version", "attempts", "plugin_state", "plugin_state_version",
    "system_failures", "cache_status", "launches", "total_system_failures", "not_before", "running_at", "launched",
    "outputs", "cache_token", "quota_leases", "cleanup_tries", "stopping_since", "cleanup_error",
)  # fmt: skip


def system_error(err: ExecutionError | None) -> bool:
    """Tell whether an error is the platform's fault."""
    return err is not None and err.kind == ErrorKind.SYSTEM  # a plugin may say it as a plain str

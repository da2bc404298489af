"""Write the progress of an attempt into its status: launched, running, recovered, begun anew (R21, R27, R29, R31)."""

from __future__ import annotations

import msgspec

from reconciler.api.action import AttemptRecord, TaskAction
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.status import ActionStatus
from reconciler.api.transition import ExecutionError, PhaseInfo
from reconciler.core.retries import SUSTAINED_PROGRESS
from reconciler.core.status_conditions import error_state_of

replace = msgspec.structs.replace
_LAUNCHED = frozenset({PluginPhase.QUEUED, PluginPhase.INITIALIZING, PluginPhase.RUNNING})
_SUSTAINED = int(SUSTAINED_PROGRESS.total_seconds() * 1000)


def occurred(info: PhaseInfo, now: int) -> int:
    """Return when a phase began, ms: the plugin's time, but not later than now, so that a fast clock stretches no limit."""
    details = info.info
    return min(details.occurred_at, now) if details and details.occurred_at else now


def begun(action: TaskAction) -> bool:
    """Tell whether anything of an action ever ran: its function, or what its plugin started. Waiting in line is not running.

    A condition has begun once it has asked.
    """
    status, attempt = action.status, action.attempt
    if action.phase is ActionPhase.PAUSED:
        return True
    if status.attempts > 1 or status.launches or status.running_at or attempt.owner or attempt.outcome:
        return True
    return status.launched and not attempt.launch


def progress(status: ActionStatus, info: PhaseInfo, now: int, *, asked: bool) -> dict[str, object]:
    """Return the status fields that change when a phase is reported; `asked` by the plugin, else by the cache."""
    phase, changes = info.phase, dict[str, object]()
    if info.info is not None and info.info.outputs is not None and phase.is_success():
        changes["outputs"] = info.info.outputs
    if asked and phase in _LAUNCHED and not status.launched:
        changes["launched"] = True
    if phase is PluginPhase.RUNNING and not status.running_at:
        changes["running_at"] = occurred(info, now)
    sustained = status.running_at and now - status.running_at >= _SUSTAINED
    if phase.is_success() or (phase is PluginPhase.RUNNING and sustained):
        changes["system_failures"] = 0
    if phase.is_terminal():
        changes.update(launched=False, not_before=0)
    return changes


def next_launch(status: ActionStatus, attempt: AttemptRecord, now: int) -> ActionStatus:
    """Return the status after a launch was stopped: the next one shares no number, name or path with it (R29)."""
    ran = status.running_at or attempt.started_at
    return replace(
        status,
        plugin_state=b"",
        plugin_state_version=0,
        launches=status.launches + 1,
        launched=False,
        running_at=0,
        # what ran begins to wait anew: its time in the queue is not the time it ran
        attempt_at=now if ran else status.attempt_at,
    )


def resumed(status: ActionStatus, attempt: AttemptRecord, suspended_at: int, now: int) -> ActionStatus:
    """Return the status of an attempt that goes on: another launch, no failure, and the pause does not count as run time.

    The units of quotas it held are given back, also after no pause: the next launch asks anew, and must not wait for them.

    What has run is running, also when its pass was over before any step saw it. A pass that came to its end forgives the
    system failures before it (R27).
    """
    since = status.running_at or attempt.started_at
    return replace(
        status,
        plugin_state=b"",
        plugin_state_version=0,
        launches=status.launches + 1,
        resumes=status.resumes + 1,
        system_failures=0,
        quota_leases=(),
        ran=ran(status, attempt, suspended_at),
        running_at=since + max(0, now - suspended_at) if since else 0,
    )


def ran(status: ActionStatus, attempt: AttemptRecord, until: int) -> int:
    """Sum how long the passes of an attempt have run until then (ms), ms: the last one and all before it."""
    return status.ran + max(0, until - attempt.started_at if attempt.started_at else 0)


def next_attempt(status: ActionStatus, error: ExecutionError | None, now: int, delay: int) -> ActionStatus:
    """Return the status of the attempt that follows one that failed by the user's fault, after a back-off (ms, R31)."""
    return replace(
        status,
        attempts=max(status.attempts, 1) + 1,
        launches=0,
        resumes=0,
        ran=0,
        previous_launches=status.launches,
        launched=False,
        system_failures=0,  # the budget "in a row" is that of one attempt; the one of its life goes on
        plugin_state=b"",
        plugin_state_version=0,
        attempt_at=now,
        running_at=0,
        not_before=now + delay if delay else 0,
        error_state=error_state_of(error) or status.error_state,
    )


def ran_long(status: ActionStatus, attempt: AttemptRecord, ended: int) -> bool:
    """Tell whether a launch that failed then (ms) had run long enough for earlier system failures to be forgiven (R27)."""
    if attempt.owner and attempt.lease_until:  # a worker that was lost ran until then at most
        ended = min(attempt.lease_until, ended)
    return bool(status.running_at) and ended - status.running_at >= _SUSTAINED

"""Limits of time of a task: queued, running, heartbeat, overall (R34).

`queued` and `overall` end the action in TIMED_OUT. `running` ends the attempt: while retries last the next one follows, and
the last one ends the action in TIMED_OUT. After a silence longer than `heartbeat` the worker counts as lost.
"""

from __future__ import annotations

from datetime import timedelta

from reconciler.api.action import TaskAction
from reconciler.api.phase import PluginPhase
from reconciler.api.status import ActionStatus
from reconciler.api.status_conditions import Reason
from reconciler.api.template import TaskTemplate, Timeouts
from reconciler.api.transition import ErrorKind, ExecutionError, PhaseInfo, TaskInfo, failed
from reconciler.core.paths import launch_id

NO_LIMITS = Timeouts()
RUNNING_TIMED_OUT = "RunningTimedOut"
"""Code of an attempt that ran longer than its running limit, by whoever noticed it."""


def limits_of(template: TaskTemplate | None) -> Timeouts:
    """Read the time limits that a template sets."""
    return template.metadata.timeouts if template and template.metadata else NO_LIMITS


def expired(action: TaskAction, limits: Timeouts, now: int) -> ExecutionError | None:
    """Return the error of the time limit that has passed, which ends attempt or action; None when none has."""
    if limits is NO_LIMITS:
        return None
    for code, what, since, limit in _clocks(action, limits):
        if limit is not None and since and now >= since + _ms(limit):
            return ExecutionError(code, f"{what} longer than {limit.total_seconds():g} s", ErrorKind.USER)
    return None


def ends_attempt(error: ExecutionError) -> bool:
    """Tell whether a passed limit ends only the attempt, so that the next one may follow."""
    return error.code == RUNNING_TIMED_OUT


def attempt_timed_out(error: ExecutionError, info: TaskInfo | None = None) -> PhaseInfo:
    """Fail an attempt that ran too long: it is retried like any failed one, and `timed_out` if it was the last."""
    return failed(PluginPhase.RETRYABLE_FAILURE, error, info, cleanup=True, failed_as=Reason.TIMED_OUT)


def next_deadline(action: TaskAction, limits: Timeouts) -> int:
    """Find the earliest time at which a time limit can pass (ms since the epoch); 0 when there is none."""
    if limits is NO_LIMITS:
        return 0
    times = [
        since + _ms(limit) for _, _, since, limit in _clocks(action, limits) if limit is not None and since
    ]
    return min(times, default=0)


def _clocks(action: TaskAction, limits: Timeouts) -> list[tuple[str, str, int, timedelta | None]]:
    status = action.status
    created = action.metadata.may_begin_at
    running = status.running_at or _started_at(action)
    queued = 0 if running else max(status.attempt_at or created, status.not_before)
    if status.resumes or action.attempt.suspended:
        running, queued = _since(action), 0
    return [
        ("DeadlineExceeded", "the action has taken", created, limits.overall),
        ("QueuedTimedOut", "the attempt has waited", queued, limits.queued),
        (RUNNING_TIMED_OUT, "the attempt has run", running, limits.running),
    ]


def _since(action: TaskAction) -> int:
    """Return when an attempt of several passes would have begun without its pauses; 0 while no worker runs it."""
    started = 0 if action.attempt.suspended else _started_at(action)
    return started and started - action.status.ran


def _started_at(action: TaskAction) -> int:
    """Return when a worker took the current launch; what the record still says of an earlier launch does not count."""
    launch = launch_id(max(action.status.attempts, 1), action.status.launches)
    return action.attempt.started_at if action.attempt.launch == launch else 0


def _ms(limit: timedelta) -> int:
    return int(limit.total_seconds() * 1000)


def running_left(status: ActionStatus, limits: Timeouts) -> float | None:
    """Return how long the next pass of an attempt may run, s: what its earlier passes have left; None without a limit."""
    return None if limits.running is None else max(0.001, limits.running.total_seconds() - status.ran / 1000)

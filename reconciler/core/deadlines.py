"""Limits of time of a task: queued, running, heartbeat, overall (spec W-14). Each ends the action in TIMED_OUT."""

from __future__ import annotations

from datetime import timedelta

from reconciler.api.action import TaskAction
from reconciler.api.template import TaskTemplate, Timeouts
from reconciler.api.transition import ErrorKind, ExecutionError
from reconciler.core.paths import launch_id

NO_LIMITS = Timeouts()
RUNNING_TIMED_OUT = "RunningTimedOut"
"""Code of an attempt that ran longer than its running limit, by whoever noticed it."""


def limits_of(template: TaskTemplate | None) -> Timeouts:
    """The limits a template sets."""
    return template.metadata.timeouts if template and template.metadata else NO_LIMITS


def expired(action: TaskAction, limits: Timeouts, now: int) -> ExecutionError | None:
    """The limit that has passed, as the error that ends the action; None when none has."""
    if limits is NO_LIMITS:
        return None
    for code, what, since, limit in _clocks(action, limits):
        if limit is not None and since and now >= since + _ms(limit):
            return ExecutionError(code, f"{what} longer than {limit.total_seconds():g} s", ErrorKind.USER)
    return None


def next_deadline(action: TaskAction, limits: Timeouts) -> int:
    """The earliest time at which a limit can pass (ms since the epoch); 0 when there is none."""
    if limits is NO_LIMITS:
        return 0
    times = [
        since + _ms(limit) for _, _, since, limit in _clocks(action, limits) if limit is not None and since
    ]
    return min(times, default=0)


def _clocks(action: TaskAction, limits: Timeouts) -> list[tuple[str, str, int, timedelta | None]]:
    status = action.status
    created = action.metadata.creation_timestamp
    running = status.running_at or _started_at(action)
    queued = 0 if running else max(status.attempt_at or created, status.not_before)
    return [
        ("DeadlineExceeded", "the action has taken", created, limits.overall),
        ("QueuedTimedOut", "the attempt has waited", queued, limits.queued),
        (RUNNING_TIMED_OUT, "the attempt has run", running, limits.running),
    ]


def _started_at(action: TaskAction) -> int:
    """When a worker took the current launch; what the record still says of an earlier one does not count."""
    launch = launch_id(max(action.status.attempts, 1), action.status.launches)
    return action.attempt.started_at if action.attempt.launch == launch else 0


def _ms(limit: timedelta) -> int:
    return int(limit.total_seconds() * 1000)

"""Decide what follows a failed attempt: a limit, the platform's fault, the next attempt, or the end (R31, R32, R34)."""

from __future__ import annotations

from reconciler.api.action import Result
from reconciler.api.phase import PluginPhase
from reconciler.api.template import template_or_none
from reconciler.api.transition import ErrorKind, ExecutionError, PhaseInfo, TaskInfo, failed, queued
from reconciler.controller import cleanup, failures, outcome
from reconciler.controller.limits import overdue, time_out
from reconciler.controller.round import Round
from reconciler.core import retries
from reconciler.core.counted import counted
from reconciler.core.deadlines import attempt_timed_out, ends_attempt
from reconciler.core.events import observed_attempts
from reconciler.core.progress import next_attempt, occurred
from reconciler.core.status_conditions import map_phase, system_error


def fail(round: Round, info: PhaseInfo) -> Result:
    """Go on after a retryable failure.

    Args:
        round: one with a context.
        info: how the attempt failed.
    """
    # a failure after a limit had passed is the limit's doing, and no new launch may outlive it
    passed = overdue(round, occurred(info, round.now))
    if passed is not None:
        return limit_passed(round, passed, info.info)
    if system_error(info.err):
        return failures.relaunch(round, info)
    return _retry_or_fail(round, info)


def limit_passed(round: Round, error: ExecutionError, info: TaskInfo | None = None) -> Result:
    """Fail the attempt because of its time limit; retries may follow. The other limits end the action (R34)."""
    if not ends_attempt(error):
        return time_out(round, error)
    return _retry_or_fail(round, attempt_timed_out(error, info or TaskInfo(occurred_at=round.now)))


def _retry_or_fail(round: Round, info: PhaseInfo) -> Result:
    """Begin the next attempt, or fail permanently when it was the last or no retry can help."""
    error, record, most = info.err, round.record, round.context.max_attempts
    current = observed_attempts(record)
    ends = retries.is_last(current, record.status, most, info.asked) or (
        error is not None and error.code in retries.NON_RETRYABLE_CODES
    )
    wait = 0 if ends and not info.cleanup_on_failure else cleanup.stop(round)
    if wait:
        return round.later(wait)
    return outcome.store(round, _last(info, current)) if ends else _restart(round, info)


def _last(info: PhaseInfo, attempts: int) -> PhaseInfo:
    text = f"task failed after {counted(attempts, 'attempt')}"
    error = info.err or ExecutionError(retries.MAX_RETRIES_EXCEEDED, text, ErrorKind.USER)
    if info.asked is not None:
        text = f"it asked for another attempt {retries.MAX_USER_RETRIES} times, which is the most: {error.message}"
        error = ExecutionError(retries.MAX_RETRIES_EXCEEDED, text, ErrorKind.USER)
    if error.code in retries.NON_RETRYABLE_CODES:
        error = retries.non_retryable(error.code, error.message, error.kind)
    return failed(PluginPhase.PERMANENT_FAILURE, error, info.info, failed_as=info.failed_as)


def _restart(round: Round, info: PhaseInfo) -> Result:
    """Publish FAILED(attempt n) with its error, then QUEUED(attempt n + 1), in this order (R32)."""
    record, current = round.record, observed_attempts(round.record)
    record.status = map_phase(record.status, info, round.now)
    record.set_status(attempts=current, plugin_phase=info.phase.label)
    round.publish(info, final=False)
    strategy = retries.retry_strategy(template_or_none(record))
    own = current - record.status.asked_retries
    delay = info.asked.delay if info.asked else retries.attempt_delay(strategy, own, round.deps.rng)
    record.status = next_attempt(record.status, info.err, round.now, delay)
    if info.asked is not None:
        asked = record.status.asked_retries + 1
        record.set_status(asked_retries=asked, asked_state=info.asked.state)
    return outcome.store_queued(round, queued(round.now, 0, "restarting task"))

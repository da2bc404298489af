"""Failures that are the platform's fault: count them, try again, and end the action when too many (R25, R26, R27)."""

from __future__ import annotations

from reconciler import metrics
from reconciler.api.action import Result
from reconciler.api.errors import InvalidInput, ReconcilerError
from reconciler.api.status_conditions import ConditionStatus, ConditionType, ErrorState, Reason
from reconciler.api.transition import ErrorKind, ExecutionError, PhaseInfo
from reconciler.controller import cleanup, ending
from reconciler.controller.limits import bounded
from reconciler.controller.overruns import RoundsAbandoned
from reconciler.controller.round import Round
from reconciler.core import retries
from reconciler.core.cachekey import CacheConfigError
from reconciler.core.counted import counted
from reconciler.core.progress import occurred, ran_long
from reconciler.core.status_conditions import error_state_of, set_condition


class SystemRetryableFailure(ReconcilerError):
    """A plugin reported a retryable failure by the platform's fault; `error_code` is the reported one (R28)."""

    def __init__(self, error: ExecutionError | None) -> None:
        self.error_code = error.code if error else ""
        self.said = error.message if error else ""
        super().__init__(f"[{error.code}] {error.message}" if error else "system retryable failure")


def handling(round: Round, error: Exception) -> Result:
    """Count what the plugin raised (R26)."""
    return bounded(round, record(round, round.plugin.id, error))


def unwritable(round: Round, error: Exception) -> Result:
    """Count a round whose decision cannot be stored, so that the action ends at last (R59)."""
    return bounded(round, record(round, round.record.spec.task_type, error))


def abandoned(round: Round, error: RoundsAbandoned) -> Result:
    """Count rounds that never committed as one system failure, and look again after a delay of the action's own.

    Those that were claimed together and died together must not meet again: one of them may be what killed the worker.
    """
    failures, rng = round.record.status.system_failures + 1, round.deps.rng
    delay = retries.system_delay(round.deps.requeue_duration, failures, rng) * (1 + rng.random())
    return bounded(round, record(round, round.plugin.id, error, retry_at=round.now + int(delay)))


def preparing(round: Round, error: Exception) -> Result:
    """Count an error of context or cache like any system error, and show it in the record (R25).

    What the spec itself makes impossible ends the action at once: no retry can help.
    """
    if isinstance(error, InvalidInput | CacheConfigError):
        round.audit("FailedValidation", "PreparingTaskAction", str(error))
        return ending.fail(round, ExecutionError(Reason.INVALID_SPEC, str(error), ErrorKind.USER))
    kind, status = ConditionType.PROGRESSING, round.record.status
    reason = next((c.reason for c in status.conditions if c.type is kind), Reason.QUEUED)
    round.record.status = set_condition(status, kind, ConditionStatus.TRUE, reason, str(error), round.now)
    return bounded(round, record(round, round.plugin.id, error, outages=True))


def relaunch(round: Round, info: PhaseInfo) -> Result:
    """Stop a launch that failed by the platform's fault, and count it; one that got on forgives earlier failures (R29)."""
    status, attempt = round.record.status, round.record.attempt
    wait = cleanup.reset(round)
    if wait:
        return round.later(wait)
    started = round.record.children.total
    if started > status.started_then or ran_long(status, attempt, occurred(info, round.now)):
        round.record.set_status(system_failures=0)
    round.record.set_status(started_then=started)
    error = SystemRetryableFailure(info.err)
    if error.error_code == retries.WORKER_LOST and attempt.drawn_with > 1:
        return bounded(round, _lost_among_others(round, error, info.requeue_at))
    return bounded(round, record(round, round.plugin.id, error, retry_at=info.requeue_at))


def _lost_among_others(round: Round, error: SystemRetryableFailure, retry_at: int) -> Result:
    """Launch again at no cost: of launches drawn together at most one was running, and nobody knows which (R27).

    It cannot go on without end: a relaunch is drawn alone, and is counted if its worker is lost, too.
    """
    round.audit("LostAmongOthers", "HandlingPlugin", str(error))
    metrics.failed(lease_lost=True)
    round.record.set_status(error_state=_told(error))
    return round.later(retry_at or round.now)


def record(
    round: Round, plugin_id: str, error: BaseException, *, retry_at: int = 0, outages: bool = False
) -> Result:
    """Count a system failure, or end the action when no retry can help or the budget is used up (R27).

    Never consumes user attempts and publishes no event below the budget. What a plugin raises because a server does not
    answer is not counted: an outage, however long, ends no action by itself.

    Args:
        round: of the action.
        plugin_id: for messages.
        error: what went wrong; its cause chain is searched for codes no retry can help.
        retry_at: look again at exactly this time instead of after the back-off (ms since the epoch).
        outages: count outages as well: it happened before or after the plugin, where everything counts (R25).
    """
    code = retries.non_retryable_code(error)
    if code:
        return ending.fail(round, retries.non_retryable(code, str(error)))
    round.audit("FailedPluginHandle", "HandlingPlugin", f'Plugin "{plugin_id}" system error: {error}')
    round.write.status = True
    if retries.is_outage(error) and not outages:
        return Result(round.deps.requeue_duration)
    metrics.failed(lease_lost=getattr(error, "error_code", "") == retries.WORKER_LOST)
    status = round.record.status
    failures, total = status.system_failures + 1, status.total_system_failures + 1
    round.record.set_status(system_failures=failures, total_system_failures=total, error_state=_told(error))
    in_a_row = failures > round.deps.max_system_failures()
    if in_a_row or total > round.deps.settings.max_total_system_failures:
        times = failures if in_a_row else total
        text = f'plugin "{plugin_id}" failed with system error {counted(times, "time")}: {error}'
        code = retries.MAX_SYSTEM_FAILURES_EXCEEDED
        return ending.fail(round, ExecutionError(code, text, ErrorKind.SYSTEM))
    if retry_at:
        return Result(max(0, retry_at - round.now))
    return Result(retries.system_delay(round.deps.requeue_duration, failures, round.deps.rng))


def _told(error: BaseException) -> ErrorState | None:
    """Show a system failure in the record, so that people see why the action waits (R14)."""
    code = getattr(error, "error_code", "") or getattr(error, "code", "") or type(error).__name__
    text = getattr(error, "said", "") or str(error)
    return error_state_of(ExecutionError(str(code), text, ErrorKind.SYSTEM))

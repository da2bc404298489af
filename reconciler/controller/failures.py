"""When something goes wrong: two budgets, retries in place, and the end by failure (R26, R31, R35)."""

from __future__ import annotations

from datetime import timedelta

import structlog

from reconciler import metrics
from reconciler.api.action import DONE, Result, TaskAction
from reconciler.api.conditions import ConditionStatus, ConditionType, ErrorState, Reason, cut
from reconciler.api.errors import InvalidInput
from reconciler.api.phase import PluginPhase
from reconciler.api.transition import ErrorKind, ExecutionError, PhaseInfo, TaskInfo, failed, queued
from reconciler.controller.overruns import RoundsAbandoned, check_rounds
from reconciler.controller.status import StatusSteps
from reconciler.core import retries
from reconciler.core.cachekey import CacheConfigError
from reconciler.core.conditions import error_state_of, failure_reason, map_phase, set_condition
from reconciler.core.times import span
from reconciler.plugins.base import Plugin, StillStopping, owes_finalize
from reconciler.plugins.context import TaskExecutionContext, template_or_none
from reconciler.plugins.registry import PluginNotFound

log = structlog.get_logger(__name__)

_ASK_AGAIN = 500
"""Shortest time until a plugin is asked again whether what it stops has stopped, ms."""


class FailureSteps(StatusSteps):
    """max_system_failures, reset_plugin_resource, record_system_error, finalize_permanent_failure, user retries."""

    def reset_plugin_resource(self, task_action: TaskAction, p: Plugin, t_ctx: TaskExecutionContext) -> int:
        """Stop what the plugin launched and forget its state, in memory; persists nothing itself (R29).

        The launch number rises, so that the next launch shares no name and no path with this one (R29). Nothing is
        forgotten before the abort succeeded or its tries are used up (R31).

        Returns:
            0 when the resource is reset; else when to call again (ms since the epoch): abort is not through yet.
        """
        wait = self.stop_plugin(task_action, p, t_ctx)
        if wait:
            return wait
        status = task_action.status
        ran = bool(status.running_at or task_action.attempt.started_at)
        task_action.set_status(
            plugin_state=b"",
            plugin_state_version=0,
            launches=status.launches + 1,
            launched=False,
            running_at=0,
            # what ran begins to wait anew: its time in the queue is not the time it ran
            attempt_at=self.now(task_action) if ran else status.attempt_at,
        )
        return 0

    def stop_plugin(self, action: TaskAction, plugin: Plugin, ctx: TaskExecutionContext) -> int:
        """Call abort and finalize with bounded tries; 0 when done or given up, else when to try again."""
        try:
            check_rounds(action, self.settings.step_lease)
            plugin.abort(ctx)
            plugin.finalize(ctx)
        except Exception as error:  # noqa: BLE001  # a plugin may raise anything; tries are counted
            wait = self.cleanup_again(action, plugin, error)
            if wait:
                return wait
            if not isinstance(error, RoundsAbandoned):  # else this round would not end either
                self._finalize_anyway(action, plugin, ctx)
        action.set_status(cleanup_tries=0, stopping_since=0, tokens=())
        return 0

    def cleanup_again(self, action: TaskAction, plugin: Plugin, error: Exception) -> int:
        """When to call abort or finalize again after it raised; 0 once that is given up, which the record then says."""
        if isinstance(error, StillStopping):
            wait = self._still_stopping(action, error)
            why = f"after {span(self.settings.cleanup_patience // timedelta(milliseconds=1))}"
        else:
            wait = self._failed_again(action)
            why = f"after {self.settings.max_cleanup_tries} tries"
        if not wait:
            text = f'plugin "{plugin.id}" could not clean up: {type(error).__name__}: {error}'
            self.audit(action, "CleanupFailed", "CleaningUp", f"{text}; given up {why}")
            action.set_status(cleanup_tries=0, stopping_since=0, cleanup_error=cut(text, 1024))
        return wait

    def _still_stopping(self, action: TaskAction, waiting: StillStopping) -> int:
        """When to ask again: not before half a second, whatever the plugin wants, and not for ever (R41)."""
        now = self.now(action)
        since = action.status.stopping_since or now
        ends = since + int(self.settings.cleanup_patience.total_seconds() * 1000)
        if now >= ends:
            return 0
        action.set_status(stopping_since=since)
        return min(max(waiting.retry_at, now + _ASK_AGAIN), ends)

    def _failed_again(self, action: TaskAction) -> int:
        tries = action.status.cleanup_tries + 1
        action.set_status(cleanup_tries=tries)
        if tries >= self.settings.max_cleanup_tries:
            return 0
        return self.now(action) + retries.system_delay(self.requeue_duration, tries, self.rng)

    def _finalize_anyway(self, action: TaskAction, plugin: Plugin, ctx: TaskExecutionContext) -> None:
        """What could not be stopped still gives back what it holds, if it can; nobody comes again."""
        try:
            plugin.finalize(ctx)
        except Exception as error:  # noqa: BLE001  # clean-up was given up and said so
            log.warning("finalize.failed", action=str(action.id), plugin=plugin.id, error=str(error))

    def record_system_error(
        self,
        task_action: TaskAction,
        original: TaskAction,
        plugin_id: str,
        handle_err: BaseException,
        *,
        retry_at: int = 0,
        preparing: bool = False,
    ) -> Result:
        """Count a system failure, or end the action when no retry can help or the budget is used up (R27).

        Never consumes user attempts and publishes no event below the budget. What a plugin raises because a server does not
        answer is not counted: an outage, however long, ends no action by itself.

        Args:
            task_action: the record of this round.
            original: the record as it was claimed.
            plugin_id: for messages.
            handle_err: what went wrong; its cause chain is searched for codes no retry can help.
            retry_at: look again at exactly this time instead of after the back-off (ms since the epoch).
            preparing: it happened before or after the plugin, where everything counts (R25).
        """
        code = retries.non_retryable_code(handle_err)
        if code:
            final = retries.non_retryable(code, str(handle_err))
            return self.finalize_permanent_failure(task_action, original, final)
        self.audit(
            task_action,
            "FailedPluginHandle",
            "HandlingPlugin",
            f'Plugin "{plugin_id}" system error: {handle_err}',
        )
        if retries.is_outage(handle_err) and not preparing:
            with self.writing(task_action) as write:
                write.status = True
            return Result(self.requeue_duration)
        metrics.failed(lease_lost=getattr(handle_err, "error_code", "") == retries.WORKER_LOST)
        failures = task_action.status.system_failures + 1
        total = task_action.status.total_system_failures + 1
        task_action.set_status(
            system_failures=failures, total_system_failures=total, error_state=_told(handle_err)
        )
        if failures > self.max_system_failures() or total > self.settings.max_total_system_failures:
            times = failures if failures > self.max_system_failures() else total
            message = f'plugin "{plugin_id}" failed with system error {times} times: {handle_err}'
            error = ExecutionError(retries.MAX_SYSTEM_FAILURES_EXCEEDED, message, ErrorKind.SYSTEM)
            return self.finalize_permanent_failure(task_action, original, error)
        with self.writing(task_action) as write:
            write.status = True
        if retry_at:
            return Result(max(0, retry_at - self.now(task_action)))
        return Result(retries.system_delay(self.requeue_duration, failures, self.rng))

    def record_abandoned_rounds(
        self, action: TaskAction, original: TaskAction, plugin_id: str, error: RoundsAbandoned
    ) -> Result:
        """Count rounds that never committed as one system failure, and look again at a time of the action's own.

        Those that were claimed together and died together must not meet again: one of them may be what killed the worker.
        """
        failures = action.status.system_failures + 1
        delay = retries.system_delay(self.requeue_duration, failures, self.rng) * (1 + self.rng.random())
        retry_at = self.now(action) + int(delay)
        return self.record_system_error(action, original, plugin_id, error, retry_at=retry_at)

    def record_preparation_error(
        self, action: TaskAction, original: TaskAction, plugin_id: str, error: Exception
    ) -> Result:
        """Count an error of context or cache like any system error, and show it to whoever waits (R25).

        What the spec itself makes impossible ends the action at once: no retry can help.
        """
        if isinstance(error, InvalidInput | CacheConfigError):
            self.audit(action, "FailedValidation", "PreparingTaskAction", str(error))
            problem = ExecutionError(Reason.INVALID_SPEC, str(error), ErrorKind.USER)
            return self.finalize_permanent_failure(action, original, problem)
        kind = ConditionType.PROGRESSING
        reason = next((c.reason for c in action.status.conditions if c.type is kind), Reason.QUEUED)
        action.status = set_condition(
            action.status, kind, ConditionStatus.TRUE, reason, str(error), self.now(action)
        )
        return self.record_system_error(action, original, plugin_id, error, preparing=True)

    def finalize_permanent_failure(
        self,
        task_action: TaskAction,
        original: TaskAction,
        exec_err: ExecutionError,
        info: TaskInfo | None = None,
    ) -> Result:
        """End the action by failure: conditions, history, error state, FAILED event, labels, in one write (R35).

        Raises:
            InvalidInput: the event could not be placed.
            Superseded: outside a round, when somebody else holds the action.
        """
        with self.writing(task_action):
            now = self.now(task_action)
            phase = failed(
                PluginPhase.PERMANENT_FAILURE,
                exec_err,
                info or TaskInfo(occurred_at=now),
                failed_as=failure_reason(exec_err),
            )
            task_action.status = map_phase(task_action.status, phase, now)
            task_action.set_status(plugin_phase=PluginPhase.PERMANENT_FAILURE.label, plugin_phase_version=0)
            self.update_task_action_status(original, task_action, phase)
            self.ensure_terminal_labels(task_action)
            self.settle(task_action)
        return DONE

    def settle(self, action: TaskAction) -> None:
        """After the end: drop the finalizer when nothing is owed; else the next round pays it (R37)."""
        try:
            plugin: Plugin | None = self.plugin_registry.resolve(action.spec.task_type)
        except PluginNotFound:  # nothing can be owed to it
            plugin = None
        if plugin is None or not owes_finalize(plugin):
            self.drop_finalizer(action)
            # nobody will ask for it any more; else finalize still needs it
            action.set_status(plugin_state=b"", plugin_state_version=0)

    # -- user retries in place (R31) ---------------------------------------------------------------------------
    def retry_or_fail(
        self,
        action: TaskAction,
        original: TaskAction,
        plugin: Plugin,
        ctx: TaskExecutionContext,
        info: PhaseInfo,
    ) -> tuple[PhaseInfo, Result | None]:
        """What a user's retryable failure becomes: the next attempt, or a permanent failure.

        Returns:
            The phase to go on with, and a result when the round ends here.
        """
        current = max(action.status.attempts, 1)
        limit = ctx.max_attempts
        err = info.err
        ends = current >= limit or (err is not None and err.code in retries.NON_RETRYABLE_CODES)
        wait = 0 if ends and not info.cleanup_on_failure else self.stop_plugin(action, plugin, ctx)
        if wait:
            with self.writing(action) as write:
                write.status = action.status is not original.status
            return info, Result(max(0, wait - self.now(action)))
        if ends:
            text = f"task failed after {current} attempt(s)"
            final = err or ExecutionError(retries.MAX_RETRIES_EXCEEDED, text, ErrorKind.USER)
            if final.code in retries.NON_RETRYABLE_CODES:
                final = retries.non_retryable(final.code, final.message, final.kind)
            return failed(PluginPhase.PERMANENT_FAILURE, final, info.info, failed_as=info.failed_as), None
        return self._restart(action, info, current), None

    def _restart(self, action: TaskAction, info: PhaseInfo, current: int) -> PhaseInfo:
        """FAILED(attempt n) with its error, then QUEUED(attempt n + 1), in this order (R32)."""
        now = self.now(action)
        action.status = map_phase(action.status, info, now)
        action.set_status(attempts=current, plugin_phase=info.phase.label)
        self.publish(action, info, final=False)
        delay = retries.attempt_delay(retries.retry_strategy(template_or_none(action)), current, self.rng)
        action.set_status(
            attempts=current + 1,
            launches=0,
            previous_launches=action.status.launches,
            launched=False,
            system_failures=0,  # the budget "in a row" is that of one attempt; the one of its life goes on
            plugin_state=b"",
            plugin_state_version=0,
            attempt_at=now,
            running_at=0,
            not_before=now + delay if delay else 0,
            error_state=error_state_of(info.err) or action.status.error_state,
        )
        return queued(now, 0, "restarting task")


def _told(error: BaseException) -> ErrorState | None:
    """A system failure for people: whoever looks at a waiting action sees why (R14)."""
    code = getattr(error, "error_code", "") or getattr(error, "code", "") or type(error).__name__
    text = getattr(error, "said", "") or str(error)
    return error_state_of(ExecutionError(str(code), text, ErrorKind.SYSTEM))

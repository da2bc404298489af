"""Time in the task path: limits that end the action in TIMED_OUT (R34), back-off, and when to look again."""

from __future__ import annotations

from reconciler.api.action import Result, TaskAction
from reconciler.api.transition import ExecutionError, PhaseInfo
from reconciler.controller.condition import ConditionSteps
from reconciler.core.deadlines import expired, limits_of, next_deadline
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import TaskExecutionContext, template_or_none


class LimitSteps(ConditionSteps):
    """overdue, time_out, wait_out, until."""

    def overdue(self, action: TaskAction, at: int = 0) -> ExecutionError | None:
        """The limit that has passed now, or had passed at a time (ms since the epoch); None when none has."""
        return expired(action, limits_of(template_or_none(action)), at or action.now)

    def time_out(
        self,
        action: TaskAction,
        original: TaskAction,
        plugin: Plugin,
        ctx: TaskExecutionContext,
        error: ExecutionError,
    ) -> Result:
        """A limit of the action passed: stop what runs, then end the action in TIMED_OUT (R34)."""
        wait = self.stop_plugin(action, plugin, ctx)
        if wait:
            return self.later(action, wait)
        return self.finalize_permanent_failure(action, original, error)

    def wait_out(self, action: TaskAction, original: TaskAction, plugin: Plugin) -> Result:
        """A back-off is not over: only limits of time are looked at."""
        error = self.overdue(action)
        if error is not None:
            return self.time_out(action, original, plugin, self.context(action, plugin), error)
        return Result(self.until(action, action.status.not_before))

    def until(self, action: TaskAction, at: int) -> int:
        """Milliseconds until `at`, or until the next limit of time when that is earlier."""
        deadline = next_deadline(action, limits_of(template_or_none(action)))
        return max(0, (min(at, deadline) if deadline else at) - action.now)

    def bounded(self, action: TaskAction, result: Result) -> Result:
        """The same result, but not later than a limit of time that lies ahead."""
        if action.is_terminal or result.requeue_after is None:
            return result
        deadline = next_deadline(action, limits_of(template_or_none(action)))
        return Result(min(result.requeue_after, deadline - action.now)) if deadline > action.now else result

    def later(self, action: TaskAction, at: int) -> Result:
        """Store counted tries without an event, and go on at that time."""
        with self.writing(action) as write:
            write.status = action.status is not write.original.status
        return Result(max(0, at - action.now))

    def requeue(self, action: TaskAction, original: TaskAction, info: PhaseInfo) -> Result:
        """The plugin's exact time; else the requeue duration, and at once after a change (R3)."""
        if info.requeue_at:
            return Result(self.until(action, info.requeue_at))
        old, new = original.status, action.status
        changed = old.plugin_phase != new.plugin_phase or old.attempts not in {0, new.attempts}
        return Result(self.until(action, action.now + self.requeue_duration), woken=changed)

"""`TaskActionReconciler`: looks at one action and moves it one step (R1). Read this file first.

Everything a round decides is staged and becomes one atomic write under the claim's fencing token: status, events, labels,
finalizers and the next due time. Its parts, by what they are about:

    status.py     publishing: status, event, terminal labels
    failures.py   system budget, user retries, permanent failure
    caching.py    the cache before and after execution
    ending.py     abort, finalize, finalizers
    condition.py  actions that wait for a person
    webhook.py    telling somebody else that they do
    limits.py     limits of time, back-off, when to look again
    overruns.py   rounds that never commit
    step.py       a step is a batch of such rounds
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from reconciler.api.action import CONDITION, DONE, FINALIZER, ActionId, Result, TaskAction
from reconciler.api.conditions import Reason
from reconciler.api.errors import ReconcilerError
from reconciler.api.phase import PluginPhase
from reconciler.api.transition import ErrorKind, ExecutionError, PhaseInfo, TaskInfo, Transition
from reconciler.controller.limits import LimitSteps
from reconciler.controller.overruns import RoundsAbandoned, check_rounds
from reconciler.controller.tokens import renew
from reconciler.core import retries
from reconciler.core.again import told_in_event, told_in_history, why_again
from reconciler.core.answers import check_types
from reconciler.core.conditions import map_phase, system_error
from reconciler.core.deadlines import attempt_timed_out, ends_attempt
from reconciler.core.events import observed_cache_status
from reconciler.core.validation import missing_fields, place_problems
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.registry import PluginNotFound
from reconciler.stores.base import Write

CONTROLLER_NAME = "taskaction"
DEFAULT_MAX_CONCURRENT_RECONCILES = 512


class Manager(Protocol):
    """Whoever runs the reconciler: the Celery application, or a test."""

    def register(self, name: str, reconciler: TaskActionReconciler, max_concurrent_reconciles: int) -> None:
        """Declare task, queue, start-up scan and sweeps under that name.

        Raises:
            ReconcilerError: the registration is not possible.
        """
        ...


class UndefinedPhase(ReconcilerError):
    """A plugin answered without a phase (R20)."""


class SystemRetryableFailure(ReconcilerError):
    """A plugin reported a retryable failure by the platform's fault; `error_code` is the reported one (R28)."""

    def __init__(self, error: ExecutionError | None) -> None:
        self.error_code = error.code if error else ""
        self.said = error.message if error else ""
        super().__init__(f"[{error.code}] {error.message}" if error else "system retryable failure")


class TaskActionReconciler(LimitSteps):
    """Moves actions from acceptance to exactly one end. See `ReconcilerBase` for the attributes."""

    def setup_with_manager(
        self, mgr: Manager, max_concurrent_reconciles: int = DEFAULT_MAX_CONCURRENT_RECONCILES
    ) -> None:
        """Register under the name `taskaction` (R2, R8).

        Raises:
            ReconcilerError: a setting is not allowed, or the manager refuses.
        """
        problems = self.settings.problems()
        if self.max_system_failures < 0:
            problems.append(
                f"executor: maxSystemFailures must be non-negative, got {int(self.max_system_failures)}"
            )
        if max_concurrent_reconciles < 1:
            problems.append(f"maxConcurrentReconciles must be at least 1, got {max_concurrent_reconciles}")
        if problems:
            raise ReconcilerError("; ".join(dict.fromkeys(problems)))
        mgr.register(CONTROLLER_NAME, self, max_concurrent_reconciles)

    def reconcile(self, req: ActionId) -> Result:
        """Claim one action, move it one step, commit (R5).

        Returns:
            When to look again. Nothing to do is `DONE`: not found, held by another step (which will look again), ended.

        What a round asks to be sent (a launch, wake-ups) is sent by `Stepper`, which drives rounds in production; the
        plugin's next look makes up for what nobody sent.

        Raises:
            Superseded: the claim was lost to a newer one while the round ran; nothing was written.
            StoreUnavailable: the store does not answer.
        """
        shard = self.store.shard_of(req.run_id)
        report = self.store.claim(shard, owner="reconcile", limit=0, named=[req])
        if not report.actions:
            return DONE
        result, write = self.round(report.actions[0])
        self.commit_one(write)
        return result

    def round(self, action: TaskAction, original: TaskAction | None = None) -> tuple[Result, Write]:
        """One round of a claimed action: what it decided, and the write that says so. Commits nothing.

        Args:
            action: the record; changed by the round.
            original: an untouched copy of it, made here when not given.
        """
        return self._staged(action, original or action.copy(), self._dispatch)

    def unstorable(self, write: Write, error: Exception) -> Write:
        """What stands for a write that cannot be encoded: a counted system failure, so that it ends at last (R59)."""
        plugin = write.action.spec.task_type

        def count(action: TaskAction, original: TaskAction) -> Result:
            return self.bounded(action, self.record_system_error(action, original, plugin, error))

        _, instead = self._staged(write.original.copy(), write.original, count)
        instead.asked.extend(write.asked)  # what the lost round was granted is given back
        return instead

    def _staged(
        self,
        action: TaskAction,
        original: TaskAction,
        decide: Callable[[TaskAction, TaskAction], Result],
    ) -> tuple[Result, Write]:
        write = Write(action=action, original=original)
        action.staged = write
        try:
            result = decide(action, original)
        finally:
            action.staged = None
        due = self._due(action, result)
        write.due = renew(self.resource_manager, action, original, due, self.quota_lease)
        return result, write

    def _due(self, action: TaskAction, result: Result) -> int:
        """When to look again: never after an end that owes nothing; at once when it owes finalization."""
        if action.is_terminal:
            if FINALIZER not in action.metadata.finalizers:
                return 0
            return action.now + (result.requeue_after or 0)
        if result.woken:
            return action.now
        return 0 if result.requeue_after is None else action.now + result.requeue_after

    def _dispatch(self, action: TaskAction, original: TaskAction) -> Result:
        if action.metadata.deletion is not None:
            return self.handle_abort_and_finalize(action)
        if action.is_terminal:
            return self.finalize_terminal(action)
        if action.spec.action_type == CONDITION:
            return self.reconcile_condition(action)
        return self.reconcile_task(action, original)

    # -- the task path (R22) ----------------------------------------------------------------------------------
    def reconcile_task(self, action: TaskAction, original: TaskAction) -> Result:
        """Validate, prepare, ask cache and plugin, and write what they say."""
        plugin, problem = self.validate_task_action(action)
        if plugin is None or problem is not None:
            return self._reject(
                action, original, problem or ExecutionError(Reason.INVALID_SPEC, "", ErrorKind.USER)
            )
        try:
            check_rounds(action, self.settings.step_lease)
        except RoundsAbandoned as error:
            return self.bounded(action, self.record_abandoned_rounds(action, original, plugin.id, error))
        if action.status.not_before > action.now:
            return self.wait_out(action, original, plugin)
        try:
            ctx = self.context(action, plugin)
            running = action.status.plugin_phase == PluginPhase.RUNNING.label
            transition, short = self.evaluate_cache_before_execution(action, ctx, running)
        except Exception as error:  # noqa: BLE001  # any failure of preparation is counted (R25)
            return self.bounded(action, self.record_preparation_error(action, original, plugin.id, error))
        if short:
            return self._conclude(action, original, plugin, ctx, transition.info, short=True)
        return self._execute(action, original, plugin, ctx)

    def _execute(
        self, action: TaskAction, original: TaskAction, plugin: Plugin, ctx: TaskExecutionContext
    ) -> Result:
        """Ask the plugin, and the cache after it."""
        overdue = None if action.status.launched else self.overdue(action)
        if overdue is not None:
            return self.time_out(action, original, plugin, ctx, overdue)
        try:
            transition = _checked(plugin.handle(ctx), action.now)
        except Exception as error:  # noqa: BLE001  # whatever a plugin raises is a system error (R26)
            overdue = self.overdue(action)
            if overdue is not None:
                return self._limit_passed(action, original, plugin, ctx, overdue)
            return self.bounded(action, self.record_system_error(action, original, plugin.id, error))
        try:
            transition = self.finalize_cache_after_execution(action, ctx, transition, False)
        except Exception as error:  # noqa: BLE001  # as for the cache before
            return self.bounded(action, self.record_preparation_error(action, original, plugin.id, error))
        return self._conclude(action, original, plugin, ctx, transition.info, short=False)

    def validate_task_action(self, action: TaskAction) -> tuple[Plugin | None, ExecutionError | None]:
        """The plugin of an action, or why it cannot run (R23)."""
        text = missing_fields(action.spec) or "; ".join(place_problems(action.spec))
        if text:
            return None, ExecutionError(Reason.INVALID_SPEC, text, ErrorKind.USER)
        try:
            return self.plugin_registry.resolve(action.spec.task_type), None
        except PluginNotFound as error:
            text = f'no plugin found for task type "{action.spec.task_type}": {error}'
            return None, ExecutionError(Reason.PLUGIN_NOT_FOUND, text, ErrorKind.USER)

    def _reject(self, action: TaskAction, original: TaskAction, problem: ExecutionError) -> Result:
        """A rejected action ends like any other failed one: event, error state, labels (R23)."""
        missing = problem.code == Reason.PLUGIN_NOT_FOUND
        reason = "FailedPluginResolve" if missing else "FailedValidation"
        self.audit(action, reason, "ValidatingTaskAction", problem.message)
        self.drop_finalizer(action)
        return self.finalize_permanent_failure(action, original, problem)

    def _conclude(
        self,
        action: TaskAction,
        original: TaskAction,
        plugin: Plugin,
        ctx: TaskExecutionContext,
        info: PhaseInfo,
        *,
        short: bool,
    ) -> Result:
        """From the phase of this round to the record (R22)."""
        attempts = action.status.attempts
        if not short:
            info, result = self._after_failure(action, original, plugin, ctx, info)
            if result is not None:
                return result
        restarted = action.status.attempts != attempts and info.phase is PluginPhase.QUEUED
        if not restarted and not info.phase.is_terminal():
            overdue = self.overdue(action)
            if overdue is not None:
                return self._limit_passed(action, original, plugin, ctx, overdue)
        self._apply(action, ctx, info, short=short, restarted=restarted)
        why = "" if short or restarted else why_again(original, info)
        if why:
            action.status, info = told_in_history(action.status, why), told_in_event(info, why)
        self.update_task_action_status(original, action, info)
        if action.is_terminal:
            self.ensure_terminal_labels(action)
            self.settle(action)
            return DONE
        if restarted and action.status.not_before:
            return Result(self.until(action, action.status.not_before))
        return self.requeue(action, original, info)

    def _limit_passed(
        self,
        action: TaskAction,
        original: TaskAction,
        plugin: Plugin,
        ctx: TaskExecutionContext,
        error: ExecutionError,
    ) -> Result:
        """A limit of the attempt fails the attempt, which retries may follow; the others end the action (R34)."""
        if not ends_attempt(error):
            return self.time_out(action, original, plugin, ctx, error)
        info = attempt_timed_out(error, TaskInfo(occurred_at=action.now))
        return self._conclude(action, original, plugin, ctx, info, short=False)

    def _after_failure(
        self,
        action: TaskAction,
        original: TaskAction,
        plugin: Plugin,
        ctx: TaskExecutionContext,
        info: PhaseInfo,
    ) -> tuple[PhaseInfo, Result | None]:
        """What a failure phase of the plugin becomes; any other phase stays as it is.

        Returns:
            The phase to go on with, and a result when the round ends here.
        """
        if info.phase is PluginPhase.RETRYABLE_FAILURE:
            # a failure after a limit had passed is the limit's doing, and no new launch may outlive it
            overdue = self.overdue(action, min(_occurred(info, action.now), action.now))
            if overdue is not None and not ends_attempt(overdue):
                return info, self.time_out(action, original, plugin, ctx, overdue)
            if overdue is not None:
                info = attempt_timed_out(overdue, info.info)
            elif system_error(info.err):
                return info, self._system_failure(action, original, plugin, ctx, info)
            return self.retry_or_fail(action, original, plugin, ctx, info)
        if info.phase is PluginPhase.PERMANENT_FAILURE and info.cleanup_on_failure:
            wait = self.stop_plugin(action, plugin, ctx)
            if wait:
                return info, self.later(action, wait)
        return info, None

    def _apply(
        self, action: TaskAction, ctx: TaskExecutionContext, info: PhaseInfo, *, short: bool, restarted: bool
    ) -> None:
        now = action.now
        action.status = map_phase(action.status, info, now)
        status = action.status
        changes: dict[str, object] = {
            "state_at": now,
            "plugin_phase": info.phase.label,
            "plugin_phase_version": info.version,
            "attempts": max(status.attempts, 1),
            "cache_status": observed_cache_status(info.info),
        }
        if not restarted:
            data, version, written = ctx.state.new_state()
            if written:
                changes.update(plugin_state=data, plugin_state_version=version)
            changes.update(self._progress(action, info, short=short))
        action.set_status(**changes)
        if action.staged is not None and ctx.launch_wish is not None and not restarted:
            action.staged.launch = ctx.launch_wish
            action.staged.task = ctx.launch_task

    def _progress(self, action: TaskAction, info: PhaseInfo, *, short: bool) -> dict[str, object]:
        """What this round says about launching, running and recovering."""
        status, changes = action.status, dict[str, object]()
        if info.info is not None and info.info.outputs is not None and info.phase.is_success():
            changes["outputs"] = info.info.outputs
        if not short and info.phase in _LAUNCHED and not status.launched:
            changes["launched"] = True
        if info.phase is PluginPhase.RUNNING and not status.running_at:
            # a plugin whose clock is fast must not stretch a limit
            changes["running_at"] = min(_occurred(info, action.now), action.now)
        sustained = status.running_at and action.now - status.running_at >= _SUSTAINED
        if info.phase.is_success() or (info.phase is PluginPhase.RUNNING and sustained):
            changes["system_failures"] = 0
        if info.phase.is_terminal():
            changes.update(launched=False, not_before=0)
        return changes

    def _system_failure(
        self,
        action: TaskAction,
        original: TaskAction,
        plugin: Plugin,
        ctx: TaskExecutionContext,
        info: PhaseInfo,
    ) -> Result:
        """A failure phase by the platform's fault: reset the resource, spend the system budget (R22)."""
        began, ended = action.status.running_at, min(_occurred(info, action.now), action.now)
        lost = action.attempt.lease_until if action.attempt.owner else 0
        wait = self.reset_plugin_resource(action, plugin, ctx)
        if wait:
            return self.later(action, wait)
        if began and (min(lost, ended) if lost else ended) - began >= _SUSTAINED:
            action.set_status(system_failures=0)  # it ran for long: earlier failures are forgiven (R27)
        error = SystemRetryableFailure(info.err)
        result = self.record_system_error(action, original, plugin.id, error, retry_at=info.requeue_at)
        return self.bounded(action, result)


_LAUNCHED = frozenset({PluginPhase.QUEUED, PluginPhase.INITIALIZING, PluginPhase.RUNNING})
_SUSTAINED = int(retries.SUSTAINED_PROGRESS.total_seconds() * 1000)


def _occurred(info: PhaseInfo, now: int) -> int:
    details: TaskInfo | None = info.info
    return details.occurred_at if details and details.occurred_at else now


def _checked(transition: object, now: int) -> Transition:
    """The transition a plugin returned, when it says something (R20). What has no time happened now (R17).

    Raises:
        UndefinedPhase: it is no transition, or its phase is undefined.
    """
    if not isinstance(transition, Transition):
        raise UndefinedPhase(f"handle must return a Transition, got {type(transition).__name__}")
    if transition.info.phase is PluginPhase.UNDEFINED:
        raise UndefinedPhase("handle returned an undefined phase without an error")
    check_types(transition.info)
    details = transition.info.info
    if details is None or details.occurred_at:
        return transition
    details = msgspec.structs.replace(details, occurred_at=now)
    return Transition(msgspec.structs.replace(transition.info, info=details), transition.type)

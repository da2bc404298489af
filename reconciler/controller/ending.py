"""Abort, finalize, forget: how an action ends when somebody asks, and what is owed after any end (R38, R37, R41)."""

from __future__ import annotations

from reconciler.api.action import DONE, FINALIZER, Deletion, Result, TaskAction
from reconciler.api.phase import PluginPhase
from reconciler.api.transition import aborted
from reconciler.controller.caching import CacheSteps
from reconciler.controller.overruns import check_rounds
from reconciler.core.conditions import map_phase, status_changed
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import TaskExecutionContext


class EndingSteps(CacheSteps):
    """handle_abort_and_finalize, remove_finalizer."""

    def handle_abort_and_finalize(self, task_action: TaskAction) -> Result:
        """Stop and clean up an action whose deletion was asked for, and end it in ABORTED (R38).

        Order: plugin abort, plugin finalize, reservation release, then in one write the ABORTED event with reason and
        actor, the status and the removal of the finalizer. A failing step is tried again, a bounded number of times; then
        the action ends all the same and says `cleanup failed` (R41). A terminal action is only finalized: no second
        end, no event (R39).
        """
        if task_action.is_terminal:
            return self.finalize_terminal(task_action)
        original = task_action.copy()
        if FINALIZER in task_action.metadata.finalizers:
            wait = self._clean_up(task_action)
            if wait:
                with self.writing(task_action) as write:
                    write.status = status_changed(original.status, task_action.status)
                return Result(max(0, wait - self.now(task_action)))
        self._end_aborted(task_action)
        return DONE

    def _clean_up(self, action: TaskAction) -> int:
        """Abort, finalize, release; 0 when done or given up, else when to go on."""
        found = None if _untouched(action) else self._plugin_and_context(action)
        if found is not None:
            wait = self.stop_plugin(action, *found)
            if wait:
                return wait
        try:
            check_rounds(
                action, self.settings.step_lease
            )  # clean-up was given up: a catalog may be what takes too long
            policy = self.cache_policy(action)
            if policy is not None and policy.cache_serializable:  # else there is none, and no key to be made
                self.release_cache_reservation(self.cache_config(action))
        except Exception as error:  # noqa: BLE001  # a catalog may raise anything; no abort waits for it
            self.audit(action, "ReservationNotReleased", "FinalizingTaskAction", str(error))
        return 0

    def _plugin_and_context(self, action: TaskAction) -> tuple[Plugin, TaskExecutionContext] | None:
        try:
            plugin = self.plugin_registry.resolve(action.spec.task_type)
            return plugin, self.context(action, plugin)
        except Exception as error:  # noqa: BLE001  # no end waits for what can never be built
            text = f"clean-up was skipped: {error}"
            self.audit(action, "FinalizationSkipped", "FinalizingTaskAction", text)
            action.set_status(cleanup_error=text[:1024])
            return None

    def _end_aborted(self, action: TaskAction) -> None:
        deletion = action.metadata.deletion
        now = self.now(action)
        reason = deletion.reason if deletion and deletion.reason else "aborted"
        info = aborted(now, 0, reason)
        with self.writing(action):
            action.status = map_phase(action.status, info, now)
            action.set_status(
                plugin_phase=PluginPhase.ABORTED.label,
                plugin_phase_version=0,
                plugin_state=b"",
                plugin_state_version=0,
            )
            at = deletion.at if deletion else now
            self.publish(action, info, final=True, actor=deletion.actor if deletion else "", updated_at=at)
            self.ensure_terminal_labels(action)
            self.drop_finalizer(action)

    def finalize_terminal(self, action: TaskAction) -> Result:
        """Pay what is owed after the end: open children, finalize, labels; then the finalizer goes (R37, R40)."""
        before = action.status
        if action.children.open:
            reason = f"parent {action.id.action} has ended"
            self.store.request_abort(
                action.id, Deletion(reason=reason), quiet=True, incarnation=action.metadata.incarnation
            )
        if FINALIZER in action.metadata.finalizers:
            wait = self._finalize_plugin(action)
            if wait:
                with self.writing(action) as write:
                    write.status = action.status is not before
                return Result(max(0, wait - self.now(action)))
            if action.status.plugin_state:
                action.set_status(plugin_state=b"", plugin_state_version=0)
        ours = FINALIZER in action.metadata.finalizers
        if action.status is before and not ours and action.metadata.completed_at:
            return DONE
        with self.writing(action) as write:
            write.status = action.status is not before
            self.ensure_terminal_labels(action)
            self.drop_finalizer(action)
        return DONE

    def _finalize_plugin(self, action: TaskAction) -> int:
        found = self._plugin_and_context(action)
        if found is None:
            return 0
        plugin, ctx = found
        try:
            check_rounds(action, self.settings.step_lease)
            plugin.finalize(ctx)
        except Exception as error:  # noqa: BLE001  # a plugin may raise anything; tries are counted
            return self.cleanup_again(action, plugin, error)
        return 0

    def remove_finalizer(self, task_action: TaskAction) -> Result:
        """Remove only this reconciler's finalizer, in a metadata write (R38).

        Raises:
            Superseded: outside a round, when somebody else holds the action.
        """
        self.drop_finalizer(task_action)
        return DONE


def _untouched(action: TaskAction) -> bool:
    """Whether the plugin was never called, so that there is nothing to stop.

    A record no earlier step has written is not enough: a step that claimed it and died may have called the plugin.
    """
    status, claims = action.status, action.token - (action.staged is not None)
    written = status.attempts or status.plugin_phase or status.total_system_failures
    return claims <= 0 and not written

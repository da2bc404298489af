"""Publishing: status, event, labels, all in the one write of a round (R6, R36, R56)."""

from __future__ import annotations

from reconciler.api.action import (
    FINALIZER,
    LABEL_COMPLETED_TIME,
    LABEL_TERMINATION_STATUS,
    TERMINATED,
    TaskAction,
)
from reconciler.api.errors import InvalidInput
from reconciler.api.event import ActionEvent
from reconciler.api.transition import PhaseInfo
from reconciler.controller.base import ReconcilerBase
from reconciler.core.conditions import status_changed, terminal_time
from reconciler.core.events import build_event, check_event


class StatusSteps(ReconcilerBase):
    """update_task_action_status, build_action_event, ensure_terminal_labels, drop_finalizer."""

    def update_task_action_status(
        self, old_task_action: TaskAction, new_task_action: TaskAction, phase_info: PhaseInfo
    ) -> None:
        """Publish and persist a status, when it changed by the comparison of R6 (R6).

        Event and status are one atomic write under the claim's fencing token: neither exists without the other.

        Raises:
            InvalidInput: the event could not be placed by consumers; nothing is written, and an audit entry says so.
            Superseded: outside a round, when somebody else holds the action or it has ended.
        """
        old, new = old_task_action.status, new_task_action.status
        if not status_changed(old, new):
            return
        # a launch anew while already queued leaves the history as it is; its event is not as old as that (R60)
        anew = new.launches and new.launched and not old.launched
        self.publish(new_task_action, phase_info, updated_at=self.now(new_task_action) if anew else 0)

    def publish(
        self,
        action: TaskAction,
        info: PhaseInfo,
        *,
        final: bool | None = None,
        actor: str = "",
        updated_at: int = 0,
    ) -> None:
        """Stage one event together with the status."""
        with self.writing(action) as write:
            event = self.build_action_event(action, info)
            changes: dict[str, object] = {"sequence": action.events + len(write.events) + 1, "actor": actor}
            if final is not None:
                changes["final"] = final
            if updated_at:
                changes["updated_time"] = updated_at
            event = _changed(event, changes)
            try:
                check_event(event)
            except InvalidInput as error:
                self.audit(action, "ActionEventPublishFailed", "PublishingActionEvent", str(error))
                raise
            write.events.append(event)
            write.status = True

    def build_action_event(self, task_action: TaskAction, phase_info: PhaseInfo) -> ActionEvent:
        """The event of a record's status: pure, but for the clock (R56)."""
        return build_event(task_action, phase_info, self.now(task_action), self.settings.cluster)

    def ensure_terminal_labels(self, task_action: TaskAction) -> None:
        """Stamp the termination label and the completed time; complete ones are left alone (R36).

        The time is that of the terminal condition, or now when there is none. Does not check terminality itself.

        Raises:
            Superseded: outside a round, when somebody else holds the action.
        """
        labels = task_action.labels
        if labels.get(LABEL_TERMINATION_STATUS) == TERMINATED and labels.get(LABEL_COMPLETED_TIME):
            return
        with self.writing(task_action) as write:
            at = terminal_time(task_action.status) or self.now(task_action)
            task_action.set_metadata(completed_at=at)
            write.metadata = True

    def drop_finalizer(self, action: TaskAction) -> None:
        """Stage the removal of this reconciler's finalizer; others stay."""
        if FINALIZER not in action.metadata.finalizers:
            return
        merely_read = action.staged is None
        with self.writing(action) as write:
            if merely_read:  # whatever is written below must not bring back an older status
                action.status = write.original.status
            kept = tuple(f for f in action.metadata.finalizers if f != FINALIZER)
            action.set_metadata(finalizers=kept)
            write.metadata = True
            if action.status.tokens:  # nothing is owed any more, so nothing is in use
                action.set_status(tokens=())
                write.status = True


def _changed(event: ActionEvent, changes: dict[str, object]) -> ActionEvent:
    for name, value in changes.items():
        if getattr(event, name) != value:
            return ActionEvent(**{**{f: getattr(event, f) for f in event.__struct_fields__}, **changes})
    return event

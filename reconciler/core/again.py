"""Say why an action is queued again after a system failure: in the event of its new launch, and in the history."""

from __future__ import annotations

import msgspec

from reconciler.api.action import TaskAction
from reconciler.api.phase import PluginPhase
from reconciler.api.status import ActionStatus
from reconciler.api.status_conditions import cut
from reconciler.api.transition import PhaseInfo, ReasonInfo, TaskInfo
from reconciler.core.paths import launch_id

replace = msgspec.structs.replace
_ANEW = frozenset(
    {
        PluginPhase.NOT_READY,
        PluginPhase.WAITING_FOR_RESOURCES,
        PluginPhase.QUEUED,
        PluginPhase.INITIALIZING,
        PluginPhase.RUNNING,
    }
)


def why_again(original: TaskAction, info: PhaseInfo) -> str:
    """Say what ended the launch before the one that begins with this phase; empty when it was no system failure.

    Args:
        original: the record as it was claimed.
        info: what the plugin reported.
    """
    status, error = original.status, original.status.error_state
    if error is None or not status.launches or status.launched or info.phase not in _ANEW:
        return ""
    number = max(status.attempts, 1)
    now, before = launch_id(number, status.launches), launch_id(number, status.launches - 1)
    return cut(
        f"launched again as {now}, because launch {before} failed: [{error.code}] {error.message}", 1024
    )


def told_in_event(info: PhaseInfo, why: str) -> PhaseInfo:
    """Add a reason to the phase for events only, not for conditions, because waiting in line makes no event."""
    details = info.info or TaskInfo()
    return replace(
        info, info=replace(details, additional_reasons=(*details.additional_reasons, ReasonInfo(why)))
    )


def told_in_history(status: ActionStatus, why: str) -> ActionStatus:
    """Put the reason into the last history entry, that of the new launch (R13: none is doubled)."""
    *earlier, last = status.phase_history
    message = last.message.partition("; launched again as ")[0]
    message = f"{message}; {why}" if message else why
    return replace(status, phase_history=(*earlier, replace(last, message=cut(message, 1024))))

"""Build the event that announces a status (R56)."""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.api.action import CONDITION, TaskAction
from reconciler.api.errors import InvalidInput
from reconciler.api.event import OUTPUTS_FILE, ActionEvent, ClusterEvent, ErrorInfo
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.status import ActionStatus
from reconciler.api.status_conditions import CODE_LIMIT, cut
from reconciler.api.transition import CacheStatus, ErrorKind, ExecutionError, OutputRef, PhaseInfo, TaskInfo
from reconciler.core.layout import read_part
from reconciler.core.paths import output_prefix
from reconciler.core.status_conditions import action_phase, event_phase

_KINDS = {ErrorKind.USER: "KIND_USER", ErrorKind.SYSTEM: "KIND_SYSTEM", ErrorKind.UNKNOWN: "KIND_UNSPECIFIED"}

MOST_DETAILS = 20
"""Reasons, log links and entries of a log context one event carries: those of a chatty plugin are cut (R15)."""


def observed_attempts(action: TaskAction) -> int:
    """Return the current attempt, at least 1 (R56)."""
    return max(action.status.attempts, 1)


def observed_cache_status(info: TaskInfo | None) -> CacheStatus:
    """Take the first cache status of the external resources that says something (R47)."""
    if info is not None:
        for resource in info.external_resources:
            if resource is not None and resource.cache_status is not CacheStatus.DISABLED:
                return resource.cache_status
    return CacheStatus.DISABLED


def updated_time(action: TaskAction, now: int) -> int:
    """Tell when the last history entry was made, or now when there is none (R56)."""
    history = action.status.phase_history
    return history[-1].occurred_at if history else now


def prefix_of(action: TaskAction) -> str:
    """Compute the folder of the current launch's objects; empty when it cannot be computed (R56), or for a condition."""
    if action.spec.action_type == CONDITION:
        return ""
    try:
        return output_prefix(
            action.metadata.namespace,
            action.metadata.name,
            action.spec.run_output_base,
            action.id.action,
            observed_attempts(action),
            action.status.launches,
        )
    except InvalidInput:
        return ""


def build_event(
    action: TaskAction, info: PhaseInfo, now: int, cluster: str = "", *, final: bool | None = None
) -> ActionEvent:
    """Build the event that tells of a status (R56).

    Args:
        action: the record with its new status.
        info: what the plugin reported.
        now: build time, ms.
        cluster: configured name of the installation.
        final: whether it is the one terminal event of the action; by default, when the phase is terminal. A retryable
            failure ends an attempt, never the action (R32).
    """
    phase = event_phase(info)
    ends = phase.is_terminal() and info.phase is not PluginPhase.RETRYABLE_FAILURE
    at = updated_time(action, now)
    details, history = info.info, action.status.phase_history
    return ActionEvent(
        id=action.id,
        sequence=action.events + 1,
        attempt=observed_attempts(action),
        phase=phase,
        version=info.version,
        final=ends if final is None else final,
        updated_time=at,
        reported_time=now,
        began=history[-1].began if history else 0,
        error_info=_error_info(info.err),
        cluster=cluster,
        output_prefix=prefix_of(action),
        output_part=_part_of(details.outputs if details else None),
        cluster_events=_cluster_events(info, at),
        log_info=details.logs[:MOST_DETAILS] if details else (),
        log_context=_log_context(details),
        cache_status=observed_cache_status(details),
        cache_metadata=_cache_source(details),
    )


def _part_of(ref: OutputRef | None) -> str:
    """Return the URI of outputs in a pack, which do not lie in the folder of their attempt."""
    return ref.uri if ref is not None and read_part(ref.uri) is not None else ""


def _cache_source(info: TaskInfo | None) -> dict[str, Any] | None:
    """Name the launch that made the outputs of a hit (R49)."""
    for resource in info.external_resources if info else ():
        if resource is not None and resource.cache_status is CacheStatus.HIT:
            return resource.custom_info or None
    return None


def _error_info(err: ExecutionError | None) -> ErrorInfo | None:
    return None if err is None else ErrorInfo(cut(err.message), _KINDS[err.kind], err.code[:CODE_LIMIT])


def _log_context(details: TaskInfo | None) -> dict[str, str] | None:
    if details is None or details.log_context is None:
        return None
    first = list(details.log_context.items())[:MOST_DETAILS]
    return {cut(name, 256): cut(value, 1024) for name, value in first}


def _cluster_events(info: PhaseInfo, fallback: int) -> tuple[ClusterEvent, ...]:
    details = info.info
    found = []
    if info.reason:
        at = details.occurred_at if details and details.occurred_at else fallback
        found.append(ClusterEvent(cut(info.reason, 1024), at))
    if details:
        found += [
            ClusterEvent(cut(r.reason, 1024), r.occurred_at or fallback)
            for r in details.additional_reasons[-MOST_DETAILS:]
        ]
    return tuple(found)


def check_event(event: ActionEvent) -> None:
    """Refuse an event that consumers could not place (R59, R56).

    Raises:
        InvalidInput: a part of the id is empty, or the attempt is not positive.
    """
    parts = (event.id.project, event.id.domain, event.id.run, event.id.action)
    if not all(parts):
        raise InvalidInput(f"an event needs project, domain, run and action, got {parts}")
    if event.attempt <= 0:
        raise InvalidInput(f"an event needs an attempt above 0, got {event.attempt}")


def first_event(action: TaskAction) -> ActionEvent:
    """Make the event of acceptance; the store adds the time. For a recovered action it is also the last event."""
    phase = action_phase(action.status)
    event = ActionEvent(
        id=action.id,
        sequence=1,
        phase=phase,
        actor=action.metadata.submitted.actor if action.metadata.submitted else "",
        parent=action.spec.parent_action_name,
    )
    return event if phase is not ActionPhase.RECOVERED else _only_event(event, action.status)


def _only_event(event: ActionEvent, status: ActionStatus) -> ActionEvent:
    folder, _, name = status.outputs.uri.rpartition("/") if status.outputs else ("", "", "")
    return msgspec.structs.replace(
        event,
        final=True,
        output_prefix=folder if name == OUTPUTS_FILE else "",
        output_part=_part_of(status.outputs),
        cluster_events=tuple(ClusterEvent(h.message, h.occurred_at) for h in status.phase_history[-1:]),
        cache_status=status.cache_status,
    )

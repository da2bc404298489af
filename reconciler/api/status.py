"""The observed state of an action: the part of its record that only a reconcile writes (R11)."""

from __future__ import annotations

import msgspec

from reconciler.api.resource import QuotaLease
from reconciler.api.start_over import StartOver
from reconciler.api.status_conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    ErrorState,
    PhaseTransition,
)
from reconciler.api.tokens import NO_RESERVATION, ReservationToken
from reconciler.api.transition import CacheStatus, OutputRef


class ActionStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """The observed part of an action (R11). Written only by whoever holds the fencing token."""

    plugin_state: bytes = b""
    plugin_state_version: int = 0
    plugin_phase: str = ""
    plugin_phase_version: int = 0
    attempts: int = 0
    """Current attempt, 1-based; 0 = nothing observed yet, read as 1."""
    launches: int = 0
    """Relaunches inside the current attempt after system failures; part of names and paths (R29)."""
    resumes: int = 0
    """How often the current attempt went on after it had been suspended; each time by a launch of its own."""
    ran: int = 0
    """For how long the passes of the current attempt before this launch have run, ms: those that ended by a suspension."""
    previous_launches: int = 0
    """Relaunches of the attempt before this one: the last of them left the checkpoints to go on from (R66)."""
    system_failures: int = 0
    """Consecutive system failures; reset by sustained progress, not by a relaunch (R27)."""
    started_then: int = 0
    """How many children it had started by its last system failure: whoever has started more since gets on (R27)."""
    total_system_failures: int = 0
    """System failures in the life of the action, never reset (R27)."""
    cache_status: CacheStatus = CacheStatus.DISABLED
    conditions: tuple[Condition, ...] = ()
    phase_history: tuple[PhaseTransition, ...] = ()
    error_state: ErrorState | None = None
    state_at: int = 0
    """When the main path last ran; the time stamp inside `state_json` (R11)."""
    attempt_at: int = 0
    """When the current attempt was queued; 0 = at creation."""
    running_at: int = 0
    """When the current attempt was first seen running; 0 = not yet."""
    not_before: int = 0
    """Back-off: the plugin is not called earlier than this."""
    launched: bool = False
    """Whether the plugin was ever called for this attempt: from then on the cache never short-circuits (R21)."""
    outputs: OutputRef | None = None
    asked_retries: int = 0
    """Attempts the function asked for itself, among `attempts`: they spend none of the task's retries."""
    asked_state: str = ""
    """What it gave to the attempts after the last one it asked for."""
    cache_token: ReservationToken = NO_RESERVATION
    """Token of the cache reservation it holds; 0 = none."""
    quota_leases: tuple[QuotaLease, ...] = msgspec.field(
        default=(), name="tokens"
    )  # as stored records call it
    """Units of quotas it holds or waits for; what a commit drops here is given back (R37)."""
    start_over: StartOver | None = None
    """Arguments with which its function started over, if it ever did (R89)."""
    unasked: tuple[str, ...] = ()
    """Children an earlier pass of its function has started and the last one never asked for (R86): the first 64."""
    webhook_due: int = 0
    webhook_tries: int = 0
    """When the webhook of a condition is called next, 0 = no call is owed; calls that have ended (R53)."""
    cleanup_tries: int = 0
    """Failed tries of abort or finalize (R41)."""
    stopping_since: int = 0
    """When the plugin first said that what it was told to stop has not ended; 0 = nothing is being stopped (R41)."""
    cleanup_error: str = ""
    """Why clean-up was given up: `cleanup failed` in views (R41); empty = it was not."""


def is_terminal(status: ActionStatus) -> bool:
    """Tell whether a condition says Succeeded=True or Failed=True; nothing else is terminal (R12)."""
    for condition in status.conditions:  # asked several times a round; a generator costs three times as much
        if condition.status is ConditionStatus.TRUE and condition.type is not ConditionType.PROGRESSING:
            return True
    return False

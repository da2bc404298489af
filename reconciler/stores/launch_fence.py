"""The fence of a launch: a write may give it up only while it is with whom the claim saw it, and has not ended."""

from __future__ import annotations

from reconciler.core.status_conditions import action_phase
from reconciler.stores.base import Write

NO_FENCE = ""


def fence_of(write: Write) -> str:
    """Give what `taken_by` told of the launch at the claim, if the write gives it up, replaces it or ends its action.

    A commit refuses the write when that is no longer so: a worker that was taken for dead may have given the launch back,
    and another one may run it now; or it has ended after all, and somebody has been told that its end is kept.

    `NO_FENCE`: the write leaves the launch alone, or saw its end.
    """
    before, attempt = write.original, write.original.attempt
    if not attempt.launch or attempt.outcome is not None or before.phase.is_terminal():
        return NO_FENCE
    ends = write.status and action_phase(write.action.status).is_terminal()
    replaces = write.launch is not None and write.launch[0] != attempt.launch
    return taken_by(attempt.owner, attempt.started_at) if ends or replaces or gives_up(write) else NO_FENCE


def taken_by(owner: str, started_at: int) -> str:
    """Name who has a launch, and since when; of one that nobody has, it is always the same."""
    return f"{started_at} {owner}"


def gives_up(write: Write) -> bool:
    """Tell whether a write gives a launch up: the next one is another attempt or relaunch, and is sent later."""
    if not write.status or write.launch is not None:
        return False
    before, after = write.original.status, write.action.status
    return (max(before.attempts, 1), before.launches) != (max(after.attempts, 1), after.launches)

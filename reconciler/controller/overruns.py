"""Rounds that never commit, because they outlive their lease or their process dies: bounded, so that the action ends."""

from __future__ import annotations

from datetime import timedelta

from reconciler.api.action import TaskAction
from reconciler.api.errors import ReconcilerError
from reconciler.core.times import span

MOST_ABANDONED = 5
"""Claims in a row that may end without a commit until the next one counts. Workers die without an action's doing: so often
in a row, within seconds each, they seldom do."""


class RoundsAbandoned(ReconcilerError):
    """Many rounds in a row of an action did not end while its claim held (R59)."""

    error_code = "RoundsAbandoned"


def check_rounds(action: TaskAction, lease: timedelta) -> None:
    """Let a round go on, unless too many before it never committed.

    Args:
        action: as it was claimed.
        lease: of a claim.

    Raises:
        RoundsAbandoned: this round is to be counted as a failure instead, with this text.
    """
    if action.abandoned < MOST_ABANDONED:
        return
    within = span(lease // timedelta(milliseconds=1))
    raise RoundsAbandoned(
        f"{action.abandoned} rounds in a row did not end within their lease of {within}: what the plugin, the cache or a "
        "webhook does in one round takes longer than that, or the worker dies of it. Do less in a round, or raise "
        "RECONCILER_STEP_LEASE"
    )

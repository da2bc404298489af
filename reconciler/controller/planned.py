"""Decide when an action may begin and when it expires: `countdown`, `eta` and `expires` of its submission."""

from __future__ import annotations

from reconciler.api.action import Deletion, Result
from reconciler.controller import ending
from reconciler.controller.round import Round
from reconciler.core.progress import begun
from reconciler.core.times import iso

EXPIRED = "expired"
"""Who ended an action that did not begin in time, as its event names him."""


def held(round: Round) -> Result | None:
    """End an action that expired before it began, and let one wait whose time has not come; None: go on.

    A condition that was answered waits for nothing, however early or late the answer came.
    """
    metadata = round.record.metadata
    if (
        not (metadata.not_before or metadata.expires_at)
        or round.record.signal is not None
        or begun(round.record)
    ):
        return None
    if metadata.expires_at and metadata.expires_at <= round.now:
        reason = f"expired: it had not begun by {iso(metadata.expires_at)}"
        round.record.set_metadata(deletion=Deletion(reason=reason, actor=EXPIRED, at=round.now))
        return ending.abort(round)
    return Result(metadata.not_before - round.now) if metadata.not_before > round.now else None

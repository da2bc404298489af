"""Launches that were lost with their worker."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.api.action import TaskAction
from reconciler.stores.base import Write


def tell_lost(accepted: list[Write], tell: Callable[[TaskAction, TaskAction], None]) -> None:
    """Tell of launches a worker began and will not report: their record goes on, or has ended, without them."""
    for write in accepted:
        attempt, before, after = write.original.attempt, write.original.status, write.action.status
        if not attempt.owner or attempt.outcome is not None or write.original.is_terminal:
            continue
        if (
            after.launches != before.launches
            or after.attempts > before.attempts > 0
            or write.action.is_terminal
        ):
            tell(write.original, write.action)

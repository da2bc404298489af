"""Launches that were lost with their worker, and what is counted of those that failed or were suspended."""

from __future__ import annotations

from collections.abc import Callable

from reconciler import metrics
from reconciler.api.action import TaskAction
from reconciler.core.paths import launch_id
from reconciler.stores.base import CommitOutcome, CommitReport, Write


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


def tally(accepted: list[Write], report: CommitReport) -> None:
    """Count what a commit did: launches, refused writes, published failures, suspended launches that wait no more."""
    launches = sum(write.launch is not None for write in accepted)
    metrics.committed(report.outcomes.count(CommitOutcome.SUPERSEDED), launches)
    for write in accepted:
        for event in write.events:
            if event.error_info is not None:
                kind = event.error_info.kind.removeprefix("KIND_").lower()
                metrics.failed_with(event.error_info.code, kind)
        if _is_suspended(write.original) and not _is_suspended(write.action):
            metrics.resumed("ended" if write.action.is_terminal else "launched")


def _is_suspended(action: TaskAction) -> bool:
    if not action.attempt.suspended or action.is_terminal:
        return False
    return action.attempt.launch == launch_id(max(action.status.attempts, 1), action.status.launches)

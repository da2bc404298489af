"""Launches lost with their worker: report them, and count those that failed or were suspended."""

from __future__ import annotations

from collections.abc import Callable

from reconciler import metrics
from reconciler.api.action import TaskAction
from reconciler.core.paths import launch_id
from reconciler.stores.base import CommitOutcome, CommitReport, Write


def tell_lost(accepted: list[Write], tell: Callable[[TaskAction, TaskAction], None]) -> None:
    """Report launches that a worker began and will not report itself: their record has moved on or ended without them."""
    for write in accepted:
        if lost(write):
            tell(write.original, write.action)


def lost(write: Write) -> bool:
    """Tell whether a worker began a launch that it will not report: the record has moved on or ended without it."""
    attempt, before, after = write.original.attempt, write.original.status, write.action.status
    if not attempt.owner or attempt.outcome is not None or write.original.is_terminal:
        return False
    return (
        after.launches != before.launches or after.attempts > before.attempts > 0 or write.action.is_terminal
    )


def tally(accepted: list[Write], report: CommitReport) -> None:
    """Count what a commit did: launches, refused writes, published failures, suspended launches that no longer wait."""
    launches = sum(write.launch is not None for write in accepted)
    metrics.committed(report.outcomes.count(CommitOutcome.SUPERSEDED), launches)
    for write in accepted:
        for event in write.events:
            if event.error_info is not None:
                kind = event.error_info.kind.removeprefix("KIND_").lower()
                metrics.failed_with(event.error_info.code, kind)
        if is_suspended(write.original) and not is_suspended(write.action):
            metrics.resumed("ended" if write.action.is_terminal else "launched")


def is_suspended(action: TaskAction) -> bool:
    """Tell whether the current launch of an action that has not ended waits without a worker."""
    if not action.attempt.suspended or action.is_terminal:
        return False
    return action.attempt.launch == launch_id(max(action.status.attempts, 1), action.status.launches)

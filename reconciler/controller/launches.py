"""Launches and actions after a commit: report those lost with their worker and those that ended, and count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from reconciler import metrics
from reconciler.api.action import ActionId, TaskAction
from reconciler.core.paths import launch_id
from reconciler.core.status_conditions import action_phase
from reconciler.stores.base import CommitOutcome, CommitReport, Write


class Follower(NamedTuple):
    """A reader of the end of an action, in the process that commits it. All must be quick, and not raise.

    Attributes:
        coming: called before the commit: the record need not be read meanwhile.
        ended: given the record when the commit was taken.
        over: called after the commit, whatever became of it.
    """

    coming: Callable[[], None]
    ended: Callable[[TaskAction], None]
    over: Callable[[], None]


Followers = dict[ActionId, Follower]


@contextmanager
def followed(writes: list[Write], followers: Followers) -> Iterator[None]:
    """Tell followers before and after a commit of ends; see `tell_ended`."""
    ends = [write.action.id for write in writes if write.action.is_terminal] if followers else []
    told = [one for one in map(followers.get, ends) if one is not None]
    for one in told:
        one.coming()
    try:
        yield
    finally:
        for one in told:
            one.over()


def tell_ended(accepted: list[Write], followers: Followers) -> None:
    """Give the record of each action that has ended to its follower, as a reader would get it."""
    for write in accepted if followers else ():
        if write.action.is_terminal and (one := followers.pop(write.action.id, None)) is not None:
            record = write.action.copy()
            record.phase = action_phase(record.status)
            one.ended(record)


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

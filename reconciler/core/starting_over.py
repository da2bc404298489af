"""Slow down a function that starts over very often, before it fills the installation with launches and events (R89)."""

from __future__ import annotations

from reconciler.api.action import TaskAction

FAST = 1_000
"""A start that lasts shorter is a fast one, ms."""
_FREE = 10
_GROWS = 100
_LONGEST = FAST


def starts(record: TaskAction) -> int:
    """Count which start of its function this is, from 1; each `continue_as_new` begins another."""
    over = record.status.start_over
    return 1 if over is None else over.number + 1


def start_begun(record: TaskAction) -> int:
    """Return when this start began, ms: when it was allowed to, since a worker may have come later."""
    over = record.status.start_over
    if over is None:
        return record.status.attempt_at or record.metadata.may_begin_at
    return over.begins or over.at


def next_start(record: TaskAction, at: int) -> tuple[int, int]:
    """Return when the next start may begin (ms), and how many starts in a row were fast by then.

    Ten fast ones in a row cost nothing. From then on starts are 100 ms apart at least, then 200 ms, up to a second.

    Args:
        record: the action, as it was drawn.
        at: when its function asked to start over, ms.
    """
    began, over = start_begun(record), record.status.start_over
    if at - began >= FAST:
        return at, 0
    fast = (over.fast if over is not None else 0) + 1
    return max(at, began + _apart(fast)), fast


def _apart(fast: int) -> int:
    return min(max(0, fast - _FREE) * _GROWS, _LONGEST)

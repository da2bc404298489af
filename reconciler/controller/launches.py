"""Launches of accepted writes: what is sent, and which were lost with their worker."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.api.action import TaskAction
from reconciler.broker.messages import Launch
from reconciler.stores.base import Write


def launch_of(write: Write) -> Launch:
    """Return what is sent for a write that was accepted and launches something."""
    assert write.launch is not None
    launch, queue = write.launch
    action, incarnation = write.action.id, write.action.metadata.incarnation
    spec = write.action.spec
    display = f"{action.run}/{action.action} attempt {launch}"
    task = write.task or spec.short_name or spec.task_type
    return Launch(queue, str(action), launch, display, incarnation, task)


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

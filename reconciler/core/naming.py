"""Name what an action runs, for people and for queries."""

from __future__ import annotations

from reconciler.api.action import TaskAction


def task_name(action: TaskAction) -> str:
    """Return the name of its task, else its type; for an action without a task, its kind."""
    return action.spec.short_name or action.spec.task_type or action.spec.action_type

"""The function of the `functions` shape."""

from __future__ import annotations

from reconciler.environment import TaskEnvironment

env = TaskEnvironment("bench")


@env.task()
def one(index: int) -> int:
    """Count one."""
    return 1 if index >= 0 else 0

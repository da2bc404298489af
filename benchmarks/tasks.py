"""The functions of the shapes `functions`, `tree` and `window`."""

from __future__ import annotations

from typing import cast

from benchmarks.shapes import LEAF
from reconciler import ask
from reconciler.api.schedule import NOW
from reconciler.children.current import current_parent
from reconciler.children.parent import Parent
from reconciler.children.submitting import Calls, Group, Options, start_many
from reconciler.environment import TaskEnvironment

env = TaskEnvironment("bench")


@env.task()
def one(index: int) -> int:
    """Count one."""
    return 1 if index >= 0 else 0


@env.task()
async def tree(leaves: int, concurrency: int | None = None) -> int:
    """Start leaves without user code below this action, and join them; with `concurrency` so many at a time."""
    parent = cast("Parent", current_parent())
    calls = Calls(LEAF, [LEAF.inputs or b""] * leaves)
    group = Group("leaves", keep_failures=False, options=Options(plan=NOW), concurrency=concurrency)
    return sum(await start_many(parent, calls, group, lambda _: 1))


@env.task()
async def in_turn(children: int) -> int:
    """Start one child after the other, each when the one before has ended."""
    return sum([await one.delay(index) for index in range(children)])


@env.task()
async def asks() -> int:
    """Wait for a person."""
    return int(await ask("go on", bool, prompt="Shall it go on?"))

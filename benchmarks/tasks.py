"""The functions of the shapes with functions."""

from __future__ import annotations

import time
from typing import cast

from benchmarks.shapes import LEAF
from reconciler import ask
from reconciler.api.schedule import NOW
from reconciler.children.current import current_parent
from reconciler.children.parent import Parent
from reconciler.children.submitting import Calls, Group, Options, start, start_many
from reconciler.environment import TaskEnvironment

env = TaskEnvironment("bench")


@env.task()
def one(index: int) -> int:
    """Count one."""
    return 1 if index >= 0 else 0


@env.task()
def sleeping(index: int) -> int:
    """Sleep for 20 ms and count one."""
    time.sleep(0.02)
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
async def naps(children: int) -> int:
    """Do the same with sleeps of 0 s: no user code below this action."""
    parent, options = cast("Parent", current_parent()), Options(plan=NOW)
    return sum([await start(parent, LEAF, options, lambda _: 1) for _ in range(children)])


@env.task()
def level(below: int) -> int:
    """Wait for a child that does the same, until there is none."""
    return 0 if below == 0 else level.delay(below - 1).result() + 1


@env.task()
async def asks() -> int:
    """Wait for a person."""
    return int(await ask("go on", bool, prompt="Shall it go on?"))

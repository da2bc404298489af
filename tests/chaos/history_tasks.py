"""Functions of a long history: one that is cached, one that needs units of a quota; imported by the workers."""

from __future__ import annotations

from reconciler.core.cachepolicy import Cache
from reconciler.environment import TaskEnvironment

env = TaskEnvironment("history")


@env.task(cache=Cache(version="1"))
def known(index: int) -> int:
    """A result for the catalog."""
    return index


@env.task(cache=Cache(version="1", serialize=True))
def known_once(index: int) -> int:
    """A result for the catalog, with a reservation."""
    return index


@env.task(resources="gpu")
def heavy(index: int) -> int:
    """Something that waits for its turn."""
    return index

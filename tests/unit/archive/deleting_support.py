"""What tests of deletions share: a function with large outputs, and looks at what is left of a run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from reconciler import TaskEnvironment
from reconciler.archive.query import Question
from reconciler.archive.requests import FIRST, LAST
from reconciler.client import Run
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab

PAD = "x" * 5000
env = TaskEnvironment("deleting")
broken: set[int] = set()


@env.task()
def square(n: int) -> str:
    """Square a number, but none that is broken; outputs are large, so they lie in S3 alone."""
    if n in broken:
        raise ValueError(n)
    return f"{n * n}{PAD}"


def a_lab() -> Iterator[Lab]:
    """Have the functions run in an engine in memory."""
    broken.clear()
    made = Lab()
    env.client = made.client
    yield made
    env.client = None


def swept(lab: Lab, later: timedelta = timedelta(hours=2), blobs: Any = None) -> None:
    """Two passes of the collector, after a while."""
    lab.clock.advance(later)
    for _ in range(2):
        lab.clock.advance(timedelta(minutes=21))
        collect(lab.store, lab.settings, blobs or lab.blobs)


def ended(lab: Lab, *names: str, **options: Any) -> list[Run[Any]]:
    """Make runs of these names that only the archive remembers."""
    runs = [square.submit((2,), run=name, **options) for name in names]
    lab.work()
    swept(lab)
    assert lab.client.runs() == []
    return runs


def objects_of(lab: Lab, run: Run[Any]) -> list[str]:
    """What lies in S3 in folders of a run."""
    uris = map(str, lab.blobs._objects)
    return [uri for uri in uris if f"/{run.id.run}@" in uri and "/_archive/" not in uri]


def remembered(lab: Lab, project: str = "default") -> set[str]:
    """Return the names of the runs in the index."""
    return {
        row.run for row in lab.client.history.find(Question(project=project, since=FIRST, until=LAST)).rows
    }


def collected(lab: Lab, later: timedelta = timedelta(minutes=1)) -> None:
    """Run one pass of the collector, after a while."""
    lab.clock.advance(later)
    collect(lab.store, lab.settings, lab.blobs)

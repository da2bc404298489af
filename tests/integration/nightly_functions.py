"""Functions of the tests of names that are used again."""

from __future__ import annotations

from pathlib import Path

from reconciler import TaskEnvironment

env = TaskEnvironment("nightly")


@env.task
def report(book: str, day: int) -> str:
    """Note that it ran, and answer with something that is too large for the record."""
    with Path(book).open("a") as notes:
        notes.write(f"{day}\n")
    return f"{day}:" + "x" * 10_000

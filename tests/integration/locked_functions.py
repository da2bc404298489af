"""A function that the workers of the doctor's installation know, and whose secret they lack."""

from __future__ import annotations

from reconciler import Secret, TaskEnvironment

env = TaskEnvironment("safe")


@env.task(secrets=[Secret("combination")])
def locked() -> None:
    """Need a secret nobody has."""

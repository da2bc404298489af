"""Functions that no worker of the doctor's installation has, nor what they need."""

from __future__ import annotations

from reconciler import TaskEnvironment

env = TaskEnvironment("shelf")


@env.task()
def unknown() -> None:
    """Be in the default queue, where nobody knows this module."""


@env.task(queue="tpu")
def lonely() -> None:
    """Be in a queue nobody consumes."""


@env.task(queue="gpu", resources="licence")
def licensed() -> None:
    """Need a unit nobody has a quota of."""

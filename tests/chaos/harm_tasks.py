"""Functions that live, and functions that harm what runs them; imported by the workers."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import threading
from datetime import timedelta
from typing import NoReturn

from reconciler.api.template import RetryStrategy
from reconciler.core.current import current_attempt
from reconciler.environment import TaskEnvironment

env = TaskEnvironment("harm")


@env.task(retries=1)
def work(index: int, seconds: float, tally: str) -> int:
    """Leave a trace of this launch, take some time, return the index."""
    trace(tally, f"{index}:{_launch()}")
    threading.Event().wait(seconds)
    return index


@env.task()
def count_up(children: int, tally: str, passes: str) -> int:
    """Start so many, and add up what they return; leave a trace for every hundredth end."""
    runs = [count_one.delay(index, tally) for index in range(children)]
    total = 0
    for number, run in enumerate(runs):
        total += run.result()
        if number % 100 == 0:
            trace(passes, f"{_launch()}:{number}")
    return total


@env.task()
def count_one(index: int, tally: str) -> int:
    """Leave a trace of this launch, and return the index."""
    trace(tally, f"{index}:{_launch()}")
    threading.Event().wait(0.02)
    return index


@env.task()
def grow(branches: int, leaves: int) -> None:
    """Grow a tree of two more levels, and wait for all of it."""
    branch.map(range(branches), leaves=leaves).result()


@env.task()
def branch(index: int, leaves: int) -> None:
    """Start so many that no worker will ever run, and wait for them."""
    leaf.map(range(index * leaves, (index + 1) * leaves)).result()


@env.task(queue="nobody-works-here")
def leaf(index: int) -> int:
    """Would return the index."""
    return index


@env.task()
def die(how: str, tally: str) -> None:
    """End the process of this function in one of several ways."""
    trace(tally, f"{how}:{os.getpid()}")
    if how == "exit":
        os._exit(0)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "memory":
        _fill_memory()
    _wait_for_ever()


@env.task(timeout=timedelta(seconds=1))
def spin(tally: str) -> None:
    """Compute for ever, under a limit of time."""
    trace(tally, f"spin:{os.getpid()}")
    while True:
        pass


@env.task(timeout=timedelta(seconds=1))
def ignore(tally: str) -> None:
    """Listen to nobody, under a limit of time."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    trace(tally, f"ignore:{os.getpid()}")
    _wait_for_ever()


@env.task()
def poison(tally: str) -> None:
    """Kill the worker process that supervises this attempt."""
    trace(tally, "poison")
    os.kill(os.getppid(), signal.SIGKILL)
    _wait_for_ever()


@env.task()
def deaf(tally: str) -> None:
    """Hear no request to stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    trace(tally, f"deaf:{os.getpid()}")
    _wait_for_ever()


@env.task(retries=RetryStrategy(retries=5, backoff=timedelta(minutes=5)))
def fail(tally: str) -> None:
    """Fail, to be tried again in minutes.

    Raises:
        ValueError: always.
    """
    trace(tally, f"fail:{os.getpid()}")
    raise ValueError("to be tried again")


@env.task(retries=RetryStrategy(retries=3, backoff=timedelta(seconds=1)))
def fail_soon() -> None:
    """Fail, to be tried again after 1, 2 and 4 seconds.

    Raises:
        ValueError: always.
    """
    raise ValueError("to be tried again")


@env.task(timeout=timedelta(seconds=2))
def doze() -> None:
    """Wait for ever, under a limit of 2 seconds."""
    _wait_for_ever()


@env.task(resources="license")
def hold(tally: str) -> None:
    """Hold the only unit there is."""
    trace(tally, f"hold:{os.getpid()}")
    _wait_for_ever()


@env.task(queue="nowhere")
def nobody() -> None:
    """Wait for a worker that does not exist."""


def trace(tally: str, line: str) -> None:
    """Append a line in one write, so that many processes may do so at once."""
    handle = os.open(tally, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


def _launch() -> str:
    attempt = current_attempt()
    return attempt.launch if attempt else ""


def _wait_for_ever() -> NoReturn:
    while True:
        select.select([], [], [])


def _fill_memory() -> None:
    held = []
    while True:
        held.append(bytearray(1 << 20))

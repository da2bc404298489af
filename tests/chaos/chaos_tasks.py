"""Functions the chaos tests run, imported by the workers."""

from __future__ import annotations

import os
import secrets
import threading
import time

from reconciler import sleep, step
from reconciler.core.cachepolicy import Cache
from reconciler.core.current import current_attempt
from reconciler.environment import TaskEnvironment

env = TaskEnvironment("chaos")


@env.task(retries=1)
def work(index: int, seconds: float, tally: str) -> int:
    """Leave a trace of this execution, take some time, return the index."""
    trace(tally, str(index))
    threading.Event().wait(seconds)
    return index


@env.task(retries=1)
def timed(index: int, seconds: float, tally: str) -> None:
    """Leave a trace of this execution with its time, and take some time."""
    trace(tally, f"{index} {time.time()}")
    threading.Event().wait(seconds)


@env.task(retries=1, cache=Cache(version="1", serialize=True))
def once(question: str, seconds: float, tally: str) -> str:
    """Leave a trace of this execution, take some time, return what no other execution would."""
    answer = secrets.token_hex(16)
    trace(tally, f"{time.time()} {answer}")
    threading.Event().wait(seconds)
    return f"{question} {answer}"


@env.task()
def mark(name: str, seconds: float, tally: str, padding: str = "") -> str:
    """Leave a name, take some time, return what is longer than the inline limit of the test."""
    trace(tally, name)
    threading.Event().wait(seconds)
    return name + "." * 200 + padding


@env.task(retries=1)
def flaky(name: str, tally: str) -> str:
    """Leave a name and fail in the first attempt, return in the second."""
    trace(tally, name)
    now = current_attempt()
    if now is None or now.attempt == 1:
        raise RuntimeError("the first attempt fails")
    return name


@env.task(resources="gpu")
def alone(name: str, seconds: float, tally: str) -> str:
    """Leave a name while nobody else holds the unit."""
    trace(tally, name)
    threading.Event().wait(seconds)
    return name


@env.task()
def family(tally: str) -> str:
    """Start two, keep a value, sleep, and wait for both."""
    children = [mark.delay(f"child{number}", 0.05, tally) for number in range(2)]
    token = step("token", secrets.token_hex, 8)
    sleep(0.2)
    for child in children:
        child.result()
    if step("token again", lambda: token) != token:
        raise ValueError("a value was kept twice")
    return token


@env.task(cache=Cache(version="1", serialize=True, ignored_inputs=("name", "seconds", "tally")))
def shared(question: str, name: str, seconds: float, tally: str) -> str:
    """Leave a name; equal questions share the answer."""
    trace(tally, name)
    threading.Event().wait(seconds)
    return question + "." * 200


def trace(tally: str, line: str) -> None:
    """Append a line in one write, so that many processes may do so at once."""
    handle = os.open(tally, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)

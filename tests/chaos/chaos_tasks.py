"""Functions the chaos tests run, imported by the workers."""

from __future__ import annotations

import os
import secrets
import threading
import time

from reconciler.core.cachepolicy import Cache
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


def trace(tally: str, line: str) -> None:
    """Append a line in one write, so that many processes may do so at once."""
    handle = os.open(tally, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)

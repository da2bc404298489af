"""Functions the chaos tests run, imported by the workers."""

from __future__ import annotations

import os
import threading

from reconciler.environment import TaskEnvironment

env = TaskEnvironment("chaos")


@env.task(retries=1)
def work(index: int, seconds: float, tally: str) -> int:
    """Leave a trace of this execution, take some time, return the index."""
    handle = os.open(tally, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(handle, f"{index}\n".encode())
    os.close(handle)
    threading.Event().wait(seconds)
    return index

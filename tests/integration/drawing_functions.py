"""Functions of the tests of what workers draw: quick ones, with one among them that does something else."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

from reconciler import Secret, TaskEnvironment, Timeouts

env = TaskEnvironment("drawn")


def note(book: str, text: str) -> None:
    """Append a line in one write, so that many processes may do so at once: what, when, in which process."""
    handle = os.open(book, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(handle, f"{text} {time.time():.3f} {os.getpid()}\n".encode())
    os.close(handle)


@env.task
def member(index: int, book: str, odd: int, how: str) -> int:
    """Return at once; the odd one does as it is told."""
    note(book, str(index))
    print(f"begin {index}")  # goes to its log
    if index == odd:
        _differ(book, how)
    print(f"end {index}")  # as above
    return index


@env.task(timeout=Timeouts(running=timedelta(seconds=1)))
def limited(index: int, odd: int) -> int:
    """Return at once; the odd one takes longer than it may."""
    if index == odd:
        threading.Event().wait(60)
    return index


@env.task(secrets=[Secret("drawn_key")])
def secretive(index: int, gate: str) -> int:
    """Wait for a file."""
    _wait_for(Path(gate))
    return index


@env.task(queue="aside")
def aside(index: int) -> int:
    """Run where somebody consumes that queue."""
    return index


@env.task
def nap(index: int) -> int:
    """Take 20 ms."""
    threading.Event().wait(0.02)
    return index


def _differ(book: str, how: str) -> None:
    gate, once = Path(f"{book}.open"), Path(f"{book}.once")
    if how == "wait":
        _wait_for(gate)
    elif how == "kill" and not once.exists():
        once.touch()
        os.kill(os.getppid(), signal.SIGKILL)  # the process of the pool, which holds the leases
        _wait_for(gate)


def _wait_for(file: Path) -> None:
    tick = threading.Event()
    while not file.exists():
        tick.wait(0.02)

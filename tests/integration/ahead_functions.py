"""Functions that tell when they begin, for calls that are given before their turn."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from reconciler.core.functions import registry


def note_and_return(name: str, trace: str) -> str:
    """Say that it has begun, and return its name."""
    with Path(trace).open("a") as file:
        file.write(f"{name}\n")
    return name


def note_and_wait(name: str, trace: str) -> str:
    """Say that it has begun, and wait for a file named `go` beside."""
    note_and_return(name, trace)
    tick = threading.Event()
    while not Path(trace).with_name("go").exists():
        tick.wait(0.005)
    return name


def note_and_die(name: str, trace: str) -> None:
    """Say that it has begun, and end the process."""
    print(f"last words of {name}", flush=True)
    note_and_return(name, trace)
    os.kill(os.getpid(), signal.SIGKILL)


def note_and_leave_threads(name: str, trace: str) -> str:
    """Say that it has begun, and leave a thread that nobody can end: its process serves no other call."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return note_and_return(name, trace)


def write(text: str, times: int) -> str:
    """Write a text so many times, and return it."""
    print(text * times, end="", flush=True)
    return text


for each in (note_and_return, note_and_wait, note_and_die, note_and_leave_threads, write):
    registry.register(each.__name__, each)

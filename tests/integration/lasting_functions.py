"""Functions that use helper processes, or register what acts for the rest of a process; imported by the child of a test."""

from __future__ import annotations

import asyncio.events
import atexit
import codecs
import concurrent.futures
import decimal
import faulthandler
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import weakref
from collections.abc import Callable
from multiprocessing import process
from multiprocessing.shared_memory import SharedMemory
from typing import Any

from reconciler.core.functions import registry

SECRET = b"canary"
KEPT: list[Any] = []
LEAVE: dict[str, Callable[[], object]] = {}


def _say() -> None:
    os.write(1, SECRET)


def _other(*_: object, **__: object) -> str:
    """Stand in for something."""
    return "other"


def square(number: int) -> int:
    """Calculate in another process."""
    return number * number


def in_pool(method: str) -> list[int]:
    """Use a pool of processes that start in this way."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(square, [1, 2, 3])


def manage() -> int:
    """Be the first to use a manager; tells in which process."""
    with multiprocessing.Manager() as manager:
        manager.dict()
    return os.getpid()


def share() -> str:
    """Leave shared memory behind; tells its name."""
    KEPT.append(SharedMemory(create=True, size=10))
    return str(KEPT[-1].name)


def start_one() -> int:
    """Leave a process behind; tells how many there are."""
    multiprocessing.get_context("fork").Process(target=signal.pause).start()
    return len(multiprocessing.active_children())


def leave(what: str) -> int:
    """Register or replace something; tells in which process."""
    LEAVE[what]()
    return os.getpid()


def _dump_to_file() -> None:
    KEPT.append(tempfile.TemporaryFile())  # noqa: SIM115  # left behind
    faulthandler.enable(KEPT[-1])


def _patch() -> None:
    for module, name in PATCHED:
        setattr(module, name, _other)


def _finalize() -> None:
    KEPT.append({1})
    weakref.finalize(KEPT[-1], _say)


PATCHED = [
    (importlib, "import_module"), (concurrent.futures, "wait"), (concurrent.futures, "ThreadPoolExecutor"),
    (multiprocessing, "cpu_count"), (asyncio.events, "get_running_loop"),
]  # fmt: skip
LEAVE |= {
    "audit hook": lambda: sys.addaudithook(lambda event, _: _say() if event == "os.listdir" else None),
    "fork": lambda: os.register_at_fork(before=_say, after_in_child=_say),
    "end": lambda: atexit.register(_say),
    "finalizer": _finalize,
    "codec": lambda: codecs.register(lambda name: codecs.lookup("utf-8") if name == "left" else None),
    "codec error": lambda: codecs.register_error("namereplace", lambda error: ("", error.end)),
    "traps": lambda: decimal.DefaultContext.traps.update({decimal.Inexact: True}),
    "dump on signal": lambda: faulthandler.register(signal.SIGUSR1),
    "dump to file": _dump_to_file,
    "names": _patch,
}


def look() -> str:
    """Do what would make the things above act; tells what is there of the others."""
    os.listdir("/")  # noqa: PTH208  # as the hook has it
    if not (pid := os.fork()):
        sys.exit(0)
    os.waitpid(pid, 0)
    try:
        known = str(codecs.lookup("left"))
    except LookupError:
        known = "no such codec"
    found = (
        known, "\u20ac".encode("ascii", "namereplace"), decimal.DefaultContext.traps[decimal.Inexact],
        faulthandler.unregister(signal.SIGUSR1), [getattr(*place) is _other for place in PATCHED],
        len(process._children),
    )  # fmt: skip
    return repr(found)


def crash() -> None:
    """End by a fault of C."""
    faulthandler._sigsegv()  # type: ignore[attr-defined]  # what it is for


for each in (in_pool, manage, share, start_one, leave, look, crash):
    registry.register(f"lasting.{each.__name__}", each)

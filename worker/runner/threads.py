"""Threads that a call leaves behind: they would act and print during the next call.

No thread can be ended from outside. So a process in which one stays serves no further call. Threads that
have no Python in them are the pools of libraries (BLAS, Arrow): those stay, and with them what makes a warm process fast.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic, sleep
from typing import Final

_GRACE: Final = 0.05
"""Seconds for threads that are about to end: those of a pool that was shut down without waiting."""
_TICK: Final = 0.0005
_API: Final = ctypes.PyDLL(None)
"""Python's own functions; not `ctypes.pythonapi`, which calls may change."""
for _function in (_API.PyInterpreterState_Get, _API.PyInterpreterState_ThreadHead, _API.PyThreadState_Next):
    _function.restype = ctypes.c_void_p
for _function in (_API.PyInterpreterState_ThreadHead, _API.PyThreadState_Next):
    _function.argtypes = [ctypes.c_void_p]
_TASKS: Final = "/proc/self/task"
"""Its count of links is that of the threads. Asking an open one takes a third of the time that finding it does."""


class Threads:
    """Takes the present threads, those that imports have started, as the ones that may run on.

    Attributes:
        acted: others ran, and have ended, during the last `restore`.
    """

    acted = False

    def __init__(self) -> None:
        self._python = set(_python_threads())
        self._tasks: tuple[int, int, int] = (-1, 0, 0)
        self._count = self._thread_count()
        self._states = _states()

    def restore(self) -> str:
        """Wait a moment for threads that are ending. Returns the name of one that stays, or nothing."""
        count = self._thread_count()
        if count <= self._count and self._python.issuperset(_python_threads()):
            self._count = count
            self.acted = False
            return ""
        left = self._wait()
        self.acted = not left
        return left

    def _wait(self) -> str:
        """Wait for threads to end. One just started has run nothing yet, so no frame shows it, but its state does."""
        ends = monotonic() + _GRACE
        while True:
            sleep(_TICK)
            left = set(_python_threads()) - self._python
            if not left and self._states.issuperset(_states()):
                self._count, self._states = self._thread_count(), _states()
                return ""
            if monotonic() >= ends:
                return f"a thread was left running ({_names(left) or 'one that has not begun'})"

    def _thread_count(self) -> int:
        """Count how many threads the kernel sees (without Linux: always as many)."""
        descriptor, *identity = self._tasks
        try:
            if descriptor >= 0:
                found = os.fstat(descriptor)
                if [found.st_dev, found.st_ino] == identity:
                    return found.st_nlink
        except OSError:  # a call has closed it
            pass
        return self._find_tasks()

    def _find_tasks(self) -> int:
        self._tasks = (-1, 0, 0)
        try:
            found = os.stat(_TASKS)  # noqa: PTH116  # asked after each call
        except OSError:
            return 0
        with suppress(OSError):  # too many are open
            self._tasks = os.open(_TASKS, os.O_RDONLY | os.O_CLOEXEC), found.st_dev, found.st_ino
        return found.st_nlink


def _python_threads() -> Iterable[int]:
    return sys._current_frames()  # noqa: SLF001  # the only list with those of `_thread`


def _states() -> set[int]:
    """Return the addresses of what Python keeps of its threads, from before each one begins."""
    found = set()
    state = _API.PyInterpreterState_ThreadHead(_API.PyInterpreterState_Get())
    while state:
        found.add(state)
        state = _API.PyThreadState_Next(state)
    return found


def _names(idents: set[int]) -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return ", ".join(sorted(names.get(ident, f"no. {ident}") for ident in idents)[:3])

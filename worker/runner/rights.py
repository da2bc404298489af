"""Ask the kernel by number for what Python has no function for: timers, class of input and output, rights given up.

Elsewhere than on Linux, and on machines whose numbers are not listed, nothing is seen.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from worker.runner.kernel import LINUX, libc, quick

_NUMBERS: Final = {"x86_64": (252, 251, 125, 222, 226), "aarch64": (31, 30, 90, 107, 111)}
"""Of ioprio_get, ioprio_set, capget, timer_create and timer_delete."""
_KNOWN: Final = _NUMBERS.get(os.uname().machine) if LINUX else None
_GET_NO_NEW_PRIVILEGES: Final = 39
_GET_FILTER: Final = 21
_PROCESS: Final = 1
_CLOCK: Final = 1
_HEADER: Final = (ctypes.c_uint32 * 2)(0x20080522, 0)
_RIGHTS: Final = ctypes.create_string_buffer(24)


def rights() -> tuple[object, ...]:
    """Read what this process may do, and which of its system calls are filtered: nobody can have that back."""
    if _KNOWN is None:
        return ()
    quick.syscall(_KNOWN[2], _HEADER, _RIGHTS)
    return quick.prctl(_GET_NO_NEW_PRIVILEGES, 0, 0, 0, 0), quick.prctl(_GET_FILTER, 0, 0, 0, 0), _RIGHTS.raw


def io_class() -> int:
    """Read class and priority of this process's input and output."""
    return int(quick.syscall(_KNOWN[0], _PROCESS, 0)) if _KNOWN is not None else 0


def set_io_class(kept: int) -> bool:
    """Set them again; tell whether that was allowed."""
    return _KNOWN is None or libc.syscall(_KNOWN[1], _PROCESS, 0, kept) == 0


class Timers:
    """The timers of POSIX that calls make through C. A process's timers are numbered in their order: none is overlooked."""

    def __init__(self) -> None:
        self._number = ctypes.c_int(-1)
        self._at = ctypes.byref(self._number)
        self._next = self._probe() + 1

    def restore(self) -> None:
        """Delete those made since the last look: one that fires later would end another call."""
        last = self._probe()
        if last < self._next:  # none can be made now
            return
        if _KNOWN is not None:
            for number in range(self._next, last):
                libc.syscall(_KNOWN[4], number)
        self._next = last + 1

    def _probe(self) -> int:
        """Make a timer and delete it; return its number, -1 where that cannot be done."""
        if _KNOWN is None or quick.syscall(_KNOWN[3], _CLOCK, None, self._at) != 0:
            return -1
        number = self._number.value
        quick.syscall(_KNOWN[4], number)
        return number

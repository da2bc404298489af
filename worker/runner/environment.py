"""Environment variables and working folder of a child: set for one call, then put back.

Whether anything changed is asked of C, whose block of variables nearly each way of setting one ends in. Comparing its
pointers takes less than a microsecond, reading it 30. Only what changed is put back.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from worker.runner.kernel import libc

_POINTER: Final = ctypes.sizeof(ctypes.c_void_p)
_BLOCK: Final = ctypes.c_void_p.in_dll(libc, "environ")
_ZONE: Final = (
    memoryview((ctypes.c_char * (2 * _POINTER)).in_dll(libc, "tzname")).cast("B"),
    memoryview(ctypes.c_long.in_dll(libc, "timezone")).cast("B"),
    memoryview(ctypes.c_int.in_dll(libc, "daylight")).cast("B"),
)
"""The time zone of C. The names in `time` say nothing about it: they are put back with those of all modules."""


class Environment:
    """Takes the present variables, time zone and folder as those that each call will find."""

    def __init__(self) -> None:
        self._object = os.environ
        self._kept = _variables()
        time.tzset()  # what an import has set; that of an earlier TZ could not be had again
        self._zone = _zone()
        self._folder = Path.cwd()
        self._path = os.getcwd()  # noqa: PTH109  # compared at each call: a Path costs ten times as much
        self._given: Mapping[str, str] = {}
        self._count = _length()
        self._note(self._count)

    def enter(self, variables: Mapping[str, str]) -> None:
        """Set the variables of a call."""
        self._given = variables
        if variables:
            given = {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
            for name, value in given.items():
                os.putenv(name, value)
            _of_python(self._object).update(
                given
            )  # what `os.environ[name] = value` does, at a third of its price
            self._note(self._count + len(given.keys() - self._kept.keys()))
        elif not self._noted:
            self._note(self._count)

    def restore(self) -> str:
        """Put back what differs. Returns nothing: all of it can be restored."""
        if os.environ is not self._object:
            os.environ = self._object  # noqa: B003  # that very object is put back
        unchanged = self._is_unchanged()
        self._put_back(map(os.fsencode, self._given))
        if not unchanged:
            if _variables() != self._kept or len(os.environb) != len(self._kept):
                self._put_back(os.environb.keys() | _variables().keys() | self._kept.keys())
            self._count = _length()
        self._noted = unchanged and not self._given
        if not unchanged or _zone() != self._zone:
            time.tzset()
        self._go_back()
        return ""

    def _put_back(self, names: Iterable[bytes]) -> None:
        known = _of_python(self._object)  # not through os.environ: that would tell C each time, too
        for name in names:
            value = self._kept.get(name)
            if value is None:
                known.pop(name, None)
                os.unsetenv(name)  # it may have been set past os.environ
            else:
                known[name] = value
                os.putenv(name, value)

    def _note(self, count: int) -> None:
        """Remember what C's block of this many variables looks like now: counting them takes longer than all the rest."""
        self._address = _BLOCK.value
        self._size = (count + 1) * _POINTER
        self._pointers = ctypes.string_at(self._address, self._size) if self._address else b""
        self._names = dict(_of_python(self._object))
        self._noted = True

    def _is_unchanged(self) -> bool:
        address = _BLOCK.value
        return (
            address == self._address
            and (not address or ctypes.string_at(address, self._size) == self._pointers)
            and _of_python(self._object) == self._names  # set by Python, and then removed past it
        )

    def _go_back(self) -> None:
        try:
            if os.getcwd() == self._path:  # noqa: PTH109  # see __init__
                return
        except OSError:  # it has been removed, or is out of reach
            pass
        with suppress(OSError):  # the folder may have been removed; then there is nothing to go back to
            os.chdir(self._folder)


def _of_python(variables: Any) -> dict[bytes, bytes]:  # noqa: ANN401  # what it wraps has no public name
    """Return the dictionary behind `os.environ`: comparing it costs a microsecond."""
    found: dict[bytes, bytes] = variables._data  # noqa: SLF001  # as above
    return found


def _length() -> int:
    """Count how many variables C has."""
    if not _BLOCK.value:
        return 0
    block = ctypes.cast(_BLOCK.value, ctypes.POINTER(ctypes.c_void_p))
    count = 0
    while block[count]:
        count += 1
    return count


def _variables() -> dict[bytes, bytes]:
    """Read the variables that C has and passes to programs."""
    if not _BLOCK.value:
        return {}
    block = ctypes.cast(_BLOCK.value, ctypes.POINTER(ctypes.c_char_p))
    entries = (block[place] or b"" for place in range(_length()))
    parts = (entry.partition(b"=") for entry in entries)
    return {name: value for name, found, value in parts if found}


def _zone() -> tuple[object, ...]:
    return time.tzname, time.timezone, b"".join(_ZONE)

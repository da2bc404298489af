"""Tell which of many dictionaries have changed since the last look, without reading them.

Python 3.12 calls whoever watches a dictionary when it changes: a look costs nothing. Python 3.11 counts the changes of each
dictionary: 20 ns for each. Where neither works (another Python), `detector()` gives nothing, and callers have to compare.
"""

from __future__ import annotations

import atexit
import ctypes
import sys
from collections.abc import Sequence
from typing import Any, Final, Protocol

from worker.runner.bodies import is_plain_python

_VERSION_AT: Final = 24
"""Where an object of a dictionary has its version: behind count of references, type and size (`ma_version_tag`)."""
_VERSION_SIZE: Final = 8
_WATCHED_ALL: Final = (3, 12)


class Changes(Protocol):
    """Follows dictionaries."""

    cheap: bool
    """Whether following one more costs no time at each look."""

    def follow(self, names: dict[str, Any]) -> None:
        """Follow one more dictionary, which must stay where it is."""

    def changed(self) -> Sequence[int]:
        """List the numbers, in the order of `follow`, of those that have changed since `settle`."""

    def settle(self) -> None:
        """Take all dictionaries as they are now."""


class Versions:
    """Reads the counters of Python 3.11."""

    cheap = False

    def __init__(self) -> None:
        self._counters: list[memoryview] = []
        self._seen = b""

    def follow(self, names: dict[str, Any]) -> None:
        """Follow one more dictionary, which must stay where it is."""
        counter = (ctypes.c_char * _VERSION_SIZE).from_address(id(names) + _VERSION_AT)
        self._counters.append(memoryview(counter).cast("B"))
        self._seen += bytes(self._counters[-1])

    def changed(self) -> Sequence[int]:
        """List the numbers of those that have changed since `settle`."""
        now = b"".join(self._counters)  # a third of the time of reading one after another
        if now == self._seen:
            return ()
        pairs = zip(memoryview(self._seen).cast("Q"), memoryview(now).cast("Q"), strict=True)
        return [number for number, (old, new) in enumerate(pairs) if old != new]

    def settle(self) -> None:
        """Take all dictionaries as they are now."""
        self._seen = b"".join(self._counters)


class Watcher:
    """Is called by Python 3.12 and newer."""

    cheap = True

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._count = 0
        self._changed: set[int] = set()
        self._callback = _CALLBACK(self._heard)
        self._id = ctypes.pythonapi.PyDict_AddWatcher(self._callback)
        # the process takes its modules apart at its end: to call us then would end it with SIGSEGV
        atexit.register(ctypes.pythonapi.PyDict_ClearWatcher, self._id)

    def follow(self, names: dict[str, Any]) -> None:
        """Follow one more dictionary, which must stay where it is."""
        self._numbers[id(names)] = (
            self._count
        )  # one that is followed twice (os.path, posixpath) is told of once
        self._count += 1
        ctypes.pythonapi.PyDict_Watch(self._id, ctypes.py_object(names))

    def changed(self) -> Sequence[int]:
        """List the numbers of those that have changed since `settle`."""
        return sorted(self._changed) if self._changed else ()

    def settle(self) -> None:
        """Take all dictionaries as they are now."""
        self._changed.clear()

    def _heard(self, _event: int, where: int, _key: int | None, _value: int | None) -> int:
        number = self._numbers.get(where)
        if number is not None:
            self._changed.add(number)
        return 0


_CALLBACK: Final = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)


def detector() -> Changes | None:
    """Choose a way to follow dictionaries that works in this Python; None when there is none."""
    if not is_plain_python():
        return None
    make = Watcher if sys.version_info >= _WATCHED_ALL else Versions
    return make() if _works(make()) else None


def version(names: dict[str, Any]) -> memoryview | None:
    """Return the number, in a list of one, that Python 3.11 keeps of a dictionary; None in another Python."""
    if not is_plain_python() or sys.version_info >= _WATCHED_ALL or not _works(Versions()):
        return None
    return (
        memoryview((ctypes.c_char * _VERSION_SIZE).from_address(id(names) + _VERSION_AT)).cast("B").cast("Q")
    )


def own_dictionary(each: object) -> dict[str, Any]:
    """Give an object a dictionary of its own, in which changes are told: Python 3.13 tells nobody of other attributes."""
    own = dict(vars(each))
    object.__setattr__(each, "__dict__", own)
    return own


def _works(changes: Changes) -> bool:
    """Try whether it works, instead of trusting a version number."""
    one: dict[str, Any] = {"a": 1}
    two: dict[str, Any] = {"a": 1}
    changes.follow(one)
    changes.follow(two)
    changes.settle()
    quiet = list(changes.changed())
    two["a"] = 2
    replaced = list(changes.changed())
    changes.settle()
    one["b"] = two["a"]
    added = list(changes.changed())
    changes.settle()
    return (quiet, replaced, added, list(changes.changed())) == ([], [1], [0], [])

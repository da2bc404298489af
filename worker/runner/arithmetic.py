"""Put back how the processor calculates: rounding, traps, numbers too small to be normal. A call can set it through C."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

from worker.runner.kernel import libc, quick

_PARTS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "x86_64": ((0, 0x0F3F), (28, 0xFFC0)),  # control words of x87 and SSE
    "aarch64": ((0, 0x07F79F00),),  # FPCR
}
"""Where a machine's `fenv_t` has its settings, and which bits they are; the others count what has happened."""
_SIZE: Final = 256
"""Bytes: more than any machine needs."""


class Arithmetic:
    """Takes the present settings as those that each call will find. On machines that are not listed: the rounding alone."""

    def __init__(self) -> None:
        self._kept = ctypes.create_string_buffer(_SIZE)
        self._now = ctypes.create_string_buffer(_SIZE)
        self._parts = _PARTS.get(os.uname().machine)
        self._known = hasattr(libc, "fegetenv")
        self._raw = b""
        if self._known:
            libc.fegetenv(self._kept)
            self._settings = self._read(self._kept)

    def restore(self) -> str:
        """Put them back. Returns nothing: all of them can be restored."""
        if self._known:
            if self._parts is not None:
                quick.fegetenv(self._now)
                if (
                    raw := self._now.raw
                ) == self._raw:  # nearly always: what has happened is soon all that can happen
                    return ""
                self._raw = raw
            if self._read(self._now) != self._settings:
                libc.fesetenv(self._kept)
                self._raw = b""
        return ""

    def _read(self, found: ctypes.Array[Any]) -> list[int]:
        if self._parts is None:
            return [quick.fegetround()]
        return [ctypes.c_uint32.from_buffer(found, place).value & bits for place, bits in self._parts]

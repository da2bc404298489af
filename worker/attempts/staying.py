"""Tell the processes of a pool until when nobody else can want their slots.

Who works on a ticket gives its slot back each second, because other messages may wait for it, or the worker may have been
asked to end. To take the next ticket costs some 20 ms of the slot. A worker that takes messages of one queue alone has no
others to give it to: the launches that wait are those of the same lines, whoever draws them.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import zlib

_TRUSTED = 2.5
"""Seconds for which a word of the worker's main process counts, which it gives each second."""
_FORMAT = "dI"
"""Until when, by the monotonic clock, and a digest of the queue."""
_CELL = "I"
_CELLS = 1024
"""Behind it, by process: its number while it has nothing to do. Two that share a cell are taken for busy at times."""


class Staying:
    """A page of memory that a worker shares with the processes it forks, made before the fork."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, struct.calcsize(_FORMAT) + _CELLS * struct.calcsize(_CELL))
        self._ended = False

    def allow(self, queue: str) -> None:
        """Say, in the main process, for whose tickets a slot may be kept for now: for the only queue; empty: for none."""
        until = time.monotonic() + _TRUSTED if queue and not self._ended else 0.0
        struct.pack_into(_FORMAT, self._page, 0, until, zlib.crc32(queue.encode()))

    def end(self) -> None:
        """Say, in the main process, that no slot is kept any more, whatever is said after it."""
        self._ended = True
        self.allow("")

    def allowed(self, queue: str) -> bool:
        """Tell whether a slot may be kept for tickets of this queue."""
        until, of = struct.unpack_from(_FORMAT, self._page)
        return bool(time.monotonic() < until and of == zlib.crc32(queue.encode()))

    def work(self, *, working: bool) -> None:
        """Say, in a process of the pool, whether it works on a ticket, or has ended it or stands by for the next."""
        struct.pack_into(_CELL, self._page, _cell(os.getpid()), 0 if working else os.getpid())

    def works(self, pid: int) -> bool:
        """Tell whether a process of the pool works."""
        return bool(struct.unpack_from(_CELL, self._page, _cell(pid))[0] != pid)


def _cell(pid: int) -> int:
    return struct.calcsize(_FORMAT) + pid % _CELLS * struct.calcsize(_CELL)


staying = Staying()
"""That of this process and its forks."""

"""Tell the processes of a pool until when nobody else can want their slots.

Who works on a ticket gives its place back each second, because other messages may wait for it, or the worker may have been
asked to end. To take the next ticket costs some 20 ms of the slot. A worker that takes messages of one queue alone has no
others to give it to: the launches that wait are those of the same lines, whoever draws them.
"""

from __future__ import annotations

import mmap
import struct
import time

_TRUSTED = 2.5
"""Seconds for which a word of the worker's main process counts, which it gives each second."""
_FORMAT = "d"


class Staying:
    """A page of memory that a worker shares with the processes it forks, made before the fork."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, struct.calcsize(_FORMAT))

    def allow(self, *, stay: bool) -> None:
        """Say, in the main process, whether a slot may be kept for now; said no more, it is not."""
        struct.pack_into(_FORMAT, self._page, 0, time.monotonic() + _TRUSTED if stay else 0.0)

    def allowed(self) -> bool:
        """Tell whether a slot may be kept."""
        until: float = struct.unpack_from(_FORMAT, self._page)[0]
        return time.monotonic() < until


staying = Staying()
"""That of this process and its forks."""

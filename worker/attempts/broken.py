"""Report to the worker's main process why its pool cannot run functions, for `reconciler doctor`."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress

import msgspec

_SIZE = 8192
_LONGEST = 1024


class _Said(msgspec.Struct, array_like=True):
    pid: int
    why: str


class Broken:
    """A page of memory that a worker shares with the processes it forks, made before the fork. The last message counts."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, _SIZE)
        self._mine = False

    def say(self, why: str) -> None:
        """Report that this process cannot run functions."""
        self._mine = True
        self._write(msgspec.json.encode(_Said(os.getpid(), " ".join(why.split())[:_LONGEST])))

    def mend(self) -> None:
        """Report that this process can run functions: costs nothing unless it could not before."""
        if self._mine:
            self._mine = False
            said = self._read()
            if said is not None and said.pid == os.getpid():
                self._write(b"")

    def troubles(self) -> list[str]:
        """Return the worker's own troubles; empty when all is well."""
        said = self._read()
        if said is None:
            return []
        why = f"its functions cannot be loaded any more ({said.why})"
        return [f"it hands back what it takes, because {why}: mend the module, and restart it"]

    def _write(self, text: bytes) -> None:
        text = text if len(text) < _SIZE else b""
        self._page[: len(text) + 1] = text + b"\0"

    def _read(self) -> _Said | None:
        with suppress(msgspec.DecodeError):  # nothing was said, or it is being written
            return msgspec.json.decode(self._page[:].partition(b"\0")[0], type=_Said)
        return None


broken = Broken()
"""That of this process and its forks."""

"""The log of one call: never longer than its limit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

SMALLEST_LIMIT = 256
"""A limit below this many bytes would leave no room for output beside the line that says it was cut."""

Sink = bytearray | Path
"""Where a log goes. Memory needs no disk and no descriptor, which a worker may be short of; a file can be read meanwhile."""


class CappedLog:
    """Takes output up to `limit` bytes; the rest is dropped, and a last line says so.

    A disk that is full ends the log, not the function.
    """

    def __init__(self, sink: Sink, limit: int) -> None:
        """Create the file, or empty what is there.

        Raises:
            OSError: the file cannot be created.
        """
        self._memory = sink if isinstance(sink, bytearray) else None
        self._file = sink.open("wb", buffering=0) if isinstance(sink, Path) else None
        if self._memory is not None:
            self._memory.clear()
        self._cut_line = f"\n[cut: the log was longer than {limit} bytes]\n".encode()
        self._room = limit
        self._held = b""
        self._cut = False

    def write(self, data: bytes) -> None:
        """Add output. The last bytes below the limit are held back until it is known that nothing follows."""
        if self._cut:
            return
        data = self._held + data
        free = self._room - len(self._cut_line)
        if len(data) > self._room:
            self._cut = True
            self._put(data[:free] + self._cut_line)
            return
        now, self._held = data[:free], data[free:]
        self._room -= len(now)
        self._put(now)

    def close(self) -> None:
        """Write what was held back and close the file."""
        if not self._cut:
            self._put(self._held)
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _put(self, data: bytes) -> None:
        if self._memory is not None:
            self._memory += data
        if self._file is not None:
            try:
                while data:
                    data = data[self._file.write(data) :]
            except OSError:
                self._cut = True

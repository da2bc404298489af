"""The log file of one call: never longer than its limit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

SMALLEST_LIMIT = 256
"""A limit below this many bytes would leave no room for output beside the line that says it was cut."""


class CappedLog:
    """Takes output up to `limit` bytes; what goes beyond is dropped, and a last line says so.

    A disk that is full ends the log, not the function.
    """

    def __init__(self, path: Path, limit: int) -> None:
        """Create the file, or empty it.

        Raises:
            OSError: the file cannot be created.
        """
        self._file = path.open("wb", buffering=0)
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
        with suppress(OSError):
            self._file.close()

    def _put(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError:
            self._cut = True

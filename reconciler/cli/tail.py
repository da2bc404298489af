"""Shows what processes newly write to their logs, each line with the name of its process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

_AT_ONCE = 1 << 20
"""Bytes that are read of one log at a time."""


class LogTail:
    """Follows the logs of some processes from where they end now."""

    def __init__(self, logs: Mapping[str, Path], say: Callable[[str, str], None]) -> None:
        """Begin to follow.

        Args:
            logs: name of a process → its log, which may not exist yet.
            say: gets the name and each line that is not blank.
        """
        self._logs = dict(logs)
        self._say = say
        self._read: dict[str, int] = {}
        for name in self._logs:
            self.skip(name)

    def skip(self, name: str) -> None:
        """Skip what this process has written until now, such as the banner of its start."""
        log = self._logs.get(name)
        if log is not None:
            self._read[name] = log.stat().st_size if log.exists() else 0

    def show_new(self) -> None:
        """Print the lines that were completed since the last time."""
        for name, log in self._logs.items():
            for line in self._new_lines(name, log):
                if line.strip():
                    self._say(name, line)

    def _new_lines(self, name: str, log: Path) -> list[str]:
        try:
            with log.open("rb") as file:
                file.seek(self._read[name])
                data = file.read(_AT_ONCE)
        except FileNotFoundError:
            return []
        complete = data[: data.rfind(b"\n") + 1] if len(data) < _AT_ONCE else data
        self._read[name] += len(complete)
        return complete.decode(errors="replace").splitlines()

"""Files with the ids of our processes, so that a shell need not search by a name that other processes share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reconciler.embedded.processes import ManagedProcess


class PidFiles:
    """`<folder>/<name>.pid` for each process that lives, and none for one that does not."""

    def __init__(self, folder: Path, processes: Mapping[str, ManagedProcess]) -> None:
        """Write nothing yet.

        Args:
            folder: where the files go.
            processes: by name; those that are started again later are looked at again.
        """
        self._folder = folder
        self._processes = processes
        self._written: dict[str, int] = {}

    def refresh(self) -> None:
        """Bring the files up to date. Cheap enough to be called several times a second."""
        for name, process in self._processes.items():
            if not process.alive:
                self._remove(name)
            elif self._written.get(name) != process.pid:
                self._path(name).write_text(f"{process.pid}\n")
                self._written[name] = process.pid

    def remove(self) -> None:
        """Remove all files: the system may give a process id to another process once ours has ended."""
        for name in self._processes:
            self._remove(name)

    def _remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)
        self._written.pop(name, None)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.pid"

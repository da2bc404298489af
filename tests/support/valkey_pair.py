"""A primary with one replica, on one machine, that can be frozen, killed and promoted."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path
from typing import Self

import redis

from reconciler.embedded.ports import LOOPBACK, pick_ports
from reconciler.embedded.processes import ManagedProcess, await_ready
from reconciler.embedded.valkey import valkey_binary

_PATIENCE = 30.0


class Node:
    """One Valkey server."""

    def __init__(self, folder: Path, primary: Node | None, appendfsync: str) -> None:
        folder.mkdir(parents=True)
        [self.port] = pick_ports(1)
        options = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(folder),
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "save": "",
            "repl-diskless-sync-delay": "0",
            "hash-max-listpack-value": "1024",
        }
        if primary is not None:
            options["replicaof"] = f"{LOOPBACK} {primary.port}"
        command = [str(valkey_binary()), *(part for k, v in options.items() for part in (f"--{k}", v))]
        self.process = ManagedProcess(f"valkey on {self.port}", command, log=folder / "log", cwd=folder)
        self.process.start()
        self.client = redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=5)
        await_ready(self.process, self.answers, _PATIENCE)

    @property
    def url(self) -> str:
        """Address for redis-py and Celery."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def answers(self) -> bool:
        """Whether it has loaded its data."""
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        """SIGKILL, and forget the connections."""
        self.process.kill()
        self.client.close()


class ValkeyPair:
    """Context manager: `primary` and `replica`."""

    def __init__(self, folder: Path, *, appendfsync: str = "everysec") -> None:
        self._folders = (folder / f"node-{number}" for number in itertools.count())
        self._appendfsync = appendfsync

    def __enter__(self) -> Self:
        self.primary = self._node(None)
        self.replica = self._node(self.primary)
        self.await_sync()
        return self

    def __exit__(self, *_: object) -> None:
        self.replica.stop()
        self.primary.stop()

    def freeze_replica(self) -> None:
        """SIGSTOP: it stays connected and receives nothing."""
        os.kill(self.replica.process.pid, signal.SIGSTOP)

    def thaw_replica(self) -> None:
        """SIGCONT."""
        os.kill(self.replica.process.pid, signal.SIGCONT)

    def fail_over(self) -> None:
        """Kill the primary and promote the replica, which is thawed only then; a new, empty replica joins."""
        self.primary.stop()
        self.thaw_replica()
        self.replica.client.replicaof("NO", "ONE")
        self.primary = self.replica
        self.replica = self._node(self.primary)
        self.await_sync()

    def await_sync(self) -> None:
        """Wait until the replica follows."""
        deadline = time.monotonic() + _PATIENCE
        while self.replica.client.info("replication").get("master_link_status") != "up":  # type: ignore[union-attr]  # redis-py says it may be awaited
            assert time.monotonic() < deadline, "the replica does not follow its primary"

    def _node(self, primary: Node | None) -> Node:
        return Node(next(self._folders), primary, self._appendfsync)

"""The one folder an embedded stack keeps everything in: data, logs, ports, keys and the lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from pathlib import Path

import msgspec

from reconciler.api.errors import ReconcilerError

OWNER_PATIENCE = 1.0
"""Seconds to wait for an owner that may have been killed just now: its locks are free some time after."""
LEFTOVER_PATIENCE = 10.0
"""Seconds that the servers of a killed stack are given to vanish; they need milliseconds."""


class Credentials(msgspec.Struct, frozen=True):
    """Keys of the embedded S3 server, made once for each folder."""

    access_key: str
    secret_key: str


class DataFolder:
    """The layout, the lock and the notes of the folder.

    Two locks tell an owner that is alive from servers that are just ending. `lock` is held by the owner's
    process alone. `lock.servers` is held by the owner and by the guardian of every server, so it becomes free
    only when the last server of a killed owner has ended, and no two servers ever write to the same files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.logs = self.root / "logs"
        self._owner: int | None = None
        self._servers: int | None = None

    def acquire(self) -> int:
        """Make the folder (mode 0700) and lock it for this process.

        Returns:
            A descriptor to be held open by every server's guardian.

        Raises:
            ReconcilerError: another stack runs on it.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)
        self._owner = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        self._servers = os.open(self.root / "lock.servers", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take_locks(self._owner, self._servers)
        except BaseException:
            self.release()
            raise
        return self._servers

    def release(self) -> None:
        """Unlock the folder. Does nothing if it was not locked."""
        for descriptor in (self._servers, self._owner):
            if descriptor is not None:
                os.close(descriptor)
        self._servers = self._owner = None

    def data_of(self, server: str) -> Path:
        """Return the folder with the files of this server, made when missing."""
        folder = self.root / server
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def credentials(self) -> Credentials:
        """Return the S3 keys of this folder, made at the first call and kept in a file of mode 0600."""
        path = self.root / "credentials.json"
        with contextlib.suppress(FileNotFoundError):
            return msgspec.json.decode(path.read_bytes(), type=Credentials)
        made = Credentials(access_key=secrets.token_hex(10), secret_key=secrets.token_urlsafe(30))
        _write(path, msgspec.json.encode(made))
        return made

    def remembered_ports(self, server: str) -> list[int]:
        """Return the ports this server had here last time; empty when unknown."""
        return self._all_ports().get(server, [])

    def remember_ports(self, server: str, ports: list[int]) -> None:
        """Keep the ports of this server for the next start."""
        _write(self.root / "ports.json", json.dumps({**self._all_ports(), server: ports}).encode())

    def _take_locks(self, owner: int, servers: int) -> None:
        if not _locked(owner, OWNER_PATIENCE):
            raise ReconcilerError(
                f"{self.root} is in use by the embedded stack of process {os.pread(owner, 32, 0).decode()}; "
                "stop that one, or give this one another folder."
            )
        os.ftruncate(owner, 0)
        os.pwrite(owner, str(os.getpid()).encode(), 0)
        if not _locked(servers, LEFTOVER_PATIENCE):
            raise ReconcilerError(
                f"servers of an earlier embedded stack still run on {self.root}; end them, then try again "
                f"(`fuser {self.root / 'lock.servers'}` names their guardians)."
            )

    def _all_ports(self) -> dict[str, list[int]]:
        with contextlib.suppress(FileNotFoundError):
            return msgspec.json.decode((self.root / "ports.json").read_bytes(), type=dict[str, list[int]])
        return {}


def _locked(descriptor: int, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _write(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 whole or not at all: a stack may be killed at any moment."""
    scratch = path.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)

"""Named places where a process can be killed: before and after each call that leaves it, told from outside by a file.

The names come from the protocols, so a new verb is a new place. Nothing of this is in the product: `arm` wraps the verbs
of the classes that production uses, in the process that calls it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from functools import wraps
from inspect import isfunction
from pathlib import Path
from typing import Any

from reconciler.broker.messages import Messenger
from reconciler.broker.messenger import CeleryMessenger
from reconciler.plugins.managers import ResourceManager
from reconciler.stores.base import Store
from reconciler.stores.catalog import Catalog
from reconciler.stores.objects import BlobStore
from reconciler.stores.redis.catalog import RedisCatalog
from reconciler.stores.redis.quotas import RedisQuotas
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.s3 import S3Blobs

PARTS: dict[str, tuple[type, type]] = {
    "store": (Store, RedisStore),
    "blobs": (BlobStore, S3Blobs),
    "catalog": (Catalog, RedisCatalog),
    "quotas": (ResourceManager, RedisQuotas),
    "messenger": (Messenger, CeleryMessenger),
}
"""What a process speaks to: the protocol that names the verbs, and the class that speaks."""
RUNNER = "runner.run"
"""The call of the user's function: not a verb of a protocol, and a boundary all the same."""
LOCAL = {
    "store.shard_of": "computes a number, and asks nobody",
    "blobs.uri": "puts a text together, and asks nobody",
    "quotas.register_quota": "remembers a number in this process",
}
"""Verbs that never leave the process, with the reason why they are no place to die at."""
MOST_PASSES = 2
"""A process dies when it passes a point for the first or the second time."""
WHOLE = "whole"
"""A file of this name among the traps: with a process of a pool its worker dies."""


def verbs(part: str) -> list[str]:
    """Return the verbs of a part that leave the process."""
    protocol, _ = PARTS[part]
    found = dict.fromkeys(
        name
        for kind in protocol.__mro__
        if kind.__module__.startswith("reconciler.")
        for name, value in vars(kind).items()
        if isfunction(value) and not name.startswith("_")
    )
    return [name for name in found if f"{part}.{name}" not in LOCAL]


def all_points() -> list[str]:
    """Return the names of all places, as `store.claim:before`."""
    calls = [f"{part}.{verb}" for part in PARTS for verb in verbs(part)]
    return [f"{call}:{side}" for call in (*calls, RUNNER) for side in ("before", "after")]


class Trap:
    """A folder of traps: `<point>.<n>` there kills whoever passes the point when it is the last of its files.

    Args:
        folder: where the files lie.
        role: of this process, for the record of its death.
        victims: processes that die first, as the parent of a pool's child; none by default.
    """

    def __init__(self, folder: Path, role: str, victims: Callable[[], Iterable[int]] = tuple) -> None:
        self._folder, self._role, self._victims = folder, role, victims

    def passing(self, point: str) -> None:
        """Take one file of this point, if there is one; die if it was the last. Of many processes one takes it."""
        for passes in range(MOST_PASSES, 0, -1):
            try:
                (self._folder / f"{point}.{passes}").unlink()
            except FileNotFoundError:
                continue
            if passes == 1:
                self._die(point)
            return

    def _die(self, point: str) -> None:
        handle = os.open(self._folder / "kills", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.write(handle, f"{time.time()} {self._role} {point}\n".encode())
        for pid in (*self._victims(), os.getpid()):
            os.kill(pid, signal.SIGKILL)


def set_trap(folder: Path, point: str, passes: int) -> None:
    """Kill whoever passes the point for the n-th time from now on."""
    for number in range(1, passes + 1):
        (folder / f"{point}.{number}").touch()


def clear_traps(folder: Path) -> list[str]:
    """Remove the traps that killed nobody; returns their points."""
    left = [file for file in folder.iterdir() if ":" in file.name]
    for file in left:
        file.unlink(missing_ok=True)
    return sorted({file.name.rpartition(".")[0] for file in left})


def deaths(folder: Path) -> list[tuple[float, str, str]]:
    """Who was killed: seconds since the epoch, role, point."""
    file = folder / "kills"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(float(at), role, point) for at, role, point in map(str.split, lines)]


def arm(trap: Trap, runner: type) -> None:
    """Let this process pass the points from now on.

    Args:
        trap: what happens there.
        runner: the class whose `run` calls the user's function.
    """
    for part, (_, speaker) in PARTS.items():
        for verb in verbs(part):
            _wrap(trap, speaker, verb, f"{part}.{verb}")
    _wrap(trap, runner, "run", RUNNER)


def _wrap(trap: Trap, speaker: type, verb: str, name: str) -> None:
    call = getattr(speaker, verb)

    @wraps(call)
    def passed(*args: Any, **named: Any) -> Any:  # those of any verb
        trap.passing(f"{name}:before")
        answer = call(*args, **named)
        trap.passing(f"{name}:after")
        return answer

    setattr(speaker, verb, passed)

"""Hide what only a worker may know from the functions it runs, which are processes of the same user.

A process can look at its parent: at its memory, its open files, and the environment it was started with, which the kernel
shows as it lies in memory, whatever was unset since.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

from reconciler.plugins.secrets import (
    ENVIRONMENT_PREFIX,
    put_back_into_environment,
    take_from_environment,
)
from worker.runner.kernel import close_doors

_STAT = Path("/proc/self/stat")
_ENVIRONMENT_BEGINS = 47
"""Place of `env_start` behind the name of the process in `/proc/self/stat`; `env_end` follows (proc(5): fields 50, 51)."""


def hide() -> None:
    """Remove the variables of secrets from this process and from sight, and let nobody look into it or its forks."""
    if take_from_environment():
        _overwrite(ENVIRONMENT_PREFIX.encode())
    close_doors()


def put_back() -> None:
    """Give the variables back: on SIGHUP Celery makes a new worker of this process by exec."""
    put_back_into_environment()


def _overwrite(prefix: bytes) -> None:
    """Overwrite the variables with these prefixes where this program found them (without Linux: no effect)."""
    with suppress(OSError, ValueError, IndexError):
        fields = _STAT.read_bytes().rpartition(b")")[2].split()
        begin, end = (int(field) for field in fields[_ENVIRONMENT_BEGINS : _ENVIRONMENT_BEGINS + 2])
        if not 0 < begin < end:
            return
        place = begin
        for entry in ctypes.string_at(begin, end - begin).split(b"\0"):
            if entry.startswith(prefix):
                ctypes.memset(place, 0, len(entry))
            place += len(entry) + 1

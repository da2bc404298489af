"""A control group with a limit of memory, where this machine lets us make one."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def limited_group(limit: int) -> Iterator[Path | None]:
    """Provide a new cgroup that may hold `limit` bytes, removed once it is empty; None where none can be made."""
    name = f"reconciler-test-{uuid.uuid4().hex[:8]}"
    group = _made(_ROOT / "memory" / name, "memory.limit_in_bytes", limit)
    group = group or _made(_ROOT / name, "memory.max", limit)
    yield group
    if group is not None:
        tick, deadline = threading.Event(), time.monotonic() + 20
        while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
            tick.wait(0.02)
        group.rmdir()


@contextmanager
def moved_into(group: Path) -> Iterator[None]:
    """Put this process into the group meanwhile, and with it what it starts."""
    me = str(os.getpid())
    home = group.parent / _own_path(group).lstrip("/") / "cgroup.procs"
    (group / "cgroup.procs").write_text(me)
    try:
        yield
    finally:
        home.write_text(me)


def _own_path(group: Path) -> str:
    """Where this process is now, below the root of the hierarchy the group lies in."""
    wanted = "memory" if group.parent.name == "memory" else ""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    return next(path for _, controllers, path in lines if wanted in controllers.split(","))


def _made(group: Path, file: str, limit: int) -> Path | None:
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        (group / file).write_text(str(limit))
    except OSError:
        with suppress(OSError):
            group.rmdir()
        return None
    return group

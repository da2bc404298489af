"""Ask the kernel who descends from whom and who was killed, and let it end a process with its supervisor.

Linux answers all of it. Elsewhere each function does what it can and says in its first line what is then
missing.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

LINUX: Final = sys.platform == "linux"
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_DUMPABLE: Final = 4
_PROC: Final = Path("/proc")
_CGROUPS: Final = Path("/sys/fs/cgroup")

libc: Final = ctypes.CDLL(None, use_errno=True)
"""The C library of this process."""
quick: Final = ctypes.PyDLL(None)
"""The same, for what returns at once and whose `errno` nobody asks for: keeping the GIL costs less than giving it away."""


def die_with(life: int) -> None:
    """Have this process group killed when the other end of the pipe `life` closes (without Linux: no effect).

    The supervisor holds the other end and never writes, so it closes when the supervisor ends, however it
    ends. The kernel then sends SIGKILL to the whole group by itself: no thread of ours has to run, and code
    that never lets go of the GIL dies too. `PR_SET_PDEATHSIG` would reach this process alone, and would also
    fire when the *thread* that started it ends.
    """
    if not LINUX:
        return
    fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(life, 0)
    if poll.poll(0):  # it closed before the kernel was asked
        os.killpg(0, signal.SIGKILL)


def unread(pipe: int) -> int:
    """Count the bytes that wait in a pipe; asked of its writing end, systems other than Linux may always say 0."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs, also of daemons (without Linux: no effect)."""
    if LINUX:
        quick.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def close_doors() -> None:
    """Keep other processes of this user out of this one's memory, environment and descriptors (without Linux: no effect).

    Who holds CAP_SYS_PTRACE gets in nevertheless. Inherited by fork, not by exec.
    """
    if LINUX:
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def peak_memory() -> int:
    """Read the most memory this process has ever held, in KiB (without Linux: 0).

    Not `ru_maxrss`: that one begins, over an exec, with the memory of whoever started the process.
    """
    with suppress(OSError, ValueError, IndexError):
        return int((_PROC / "self" / "status").read_bytes().split(b"VmHWM:", 1)[1].split(None, 1)[0])
    return 0


def give_back_memory() -> None:
    """Give back what this process has freed, as much of it as its C library can (glibc alone has the call).

    Imports free as much again as they keep; glibc would hold on to it for as long as something lies above it.
    """
    trim = getattr(libc, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def descendants(ancestor: int) -> set[int]:
    """List the process ids of all descendants of a process, zombies too (without Linux: none)."""
    children: dict[int, list[int]] = {}
    for pid in _processes():
        with suppress(OSError, ValueError):
            # "pid (name) state ppid …"; the name may hold spaces and brackets
            parent = int((_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def marked(variable: str, mark: str) -> set[int]:
    """List live processes that were started with `variable=mark` in their environment (without Linux: none)."""
    entry = f"{variable}={mark}".encode()
    found: set[int] = set()
    for pid in _processes():
        with suppress(OSError):  # it has ended, or belongs to somebody else
            if entry in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found


def kill_all(pids: set[int]) -> None:
    """Send SIGKILL to each process that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


class OomCounter:
    """Counts what the kernel killed for want of memory in a process's cgroup (without Linux: nothing)."""

    def __init__(self, pid: int) -> None:
        """Find the counter of the cgroup the process is in now, and keep it open: reading is cheap then."""
        self._descriptor: int | None = None
        self._text, self._count = b"", 0
        with suppress(OSError):
            for counter in _oom_counters((_PROC / str(pid) / "cgroup").read_text()):
                with suppress(OSError):
                    self._descriptor = os.open(counter, os.O_RDONLY | os.O_CLOEXEC)
                    return

    def read(self) -> int:
        """Read the count; 0 when there is no counter."""
        if self._descriptor is not None:
            with suppress(OSError):
                text = os.pread(self._descriptor, 4096, 0)
                if text != self._text:  # read at each call: it hardly ever changes
                    self._text, self._count = text, _oom_kills(text)
                return self._count
        return 0

    def close(self) -> None:
        """Let go of the counter."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _oom_kills(text: bytes) -> int:
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(b"oom_kill ")), 0)


def _oom_counters(membership: str) -> Iterator[Path]:
    """List where it may be: version 1, then 2. A container's path may be the host's while its mount is its own."""
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield _CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control"
            yield _CGROUPS / "memory" / "memory.oom_control"
        elif not controllers:
            yield _CGROUPS / path.lstrip("/") / "memory.events"
            yield _CGROUPS / "memory.events"


def _processes() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())

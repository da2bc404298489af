"""Put back the state the kernel keeps of a child beside its signals: limits, file mode mask, turns at the processor, owner.

An unprivileged process cannot raise again what it has lowered; then another process takes its place.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
from typing import Final

from worker.runner.rights import io_class, rights, set_io_class

_LIMITS: Final = sorted(
    {getattr(resource, name): name for name in dir(resource) if name.startswith("RLIMIT_")}.items()
)
_NUMBERS: Final = [number for number, _ in _LIMITS]


class Limits:
    """Takes the present limits as those that each call will find."""

    def __init__(self) -> None:
        self._limits = _limits()
        os.umask(umask := os.umask(0o077))
        self._umask = umask
        self._priority = os.getpriority(os.PRIO_PROCESS, 0)
        self._processors = _processors()
        self._turns = _turns()
        self._io = io_class()
        self._owner = _owner()
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = most // 2 if most > 0 else sys.maxsize

    def restore(self) -> str:
        """Put them back. Returns why this process cannot serve another call, or nothing."""
        os.umask(self._umask)
        return (
            self._restore_limits()
            or self._restore_scheduling()
            or self._look_at_owner()
            or self._count_descriptors()
        )

    def _restore_limits(self) -> str:
        if (now := _limits()) != self._limits:
            for (number, name), kept, changed in zip(_LIMITS, self._limits, now, strict=True):
                if kept != changed:
                    try:
                        resource.setrlimit(number, kept)
                    except (OSError, ValueError):
                        return f"its resource limit {name} cannot be raised again"
        return ""

    def _restore_scheduling(self) -> str:
        if os.getpriority(os.PRIO_PROCESS, 0) != self._priority:
            try:
                os.setpriority(os.PRIO_PROCESS, 0, self._priority)
            except OSError:
                return "its priority cannot be raised again"
        if _processors() != self._processors:
            try:
                os.sched_setaffinity(0, self._processors)
            except OSError:
                return "its processors cannot be given back"
        return self._restore_classes()

    def _restore_classes(self) -> str:
        if _turns() != self._turns:
            policy, priority = self._turns
            try:
                os.sched_setscheduler(0, policy, os.sched_param(priority))
            except OSError:
                return "its class at the scheduler cannot be given back"
        if io_class() != self._io and not set_io_class(self._io):
            return "its class of input and output cannot be given back"
        return ""

    def _count_descriptors(self) -> str:
        """Say when too few descriptors are left for later calls; the kernel always gives the lowest free number."""
        try:
            os.close(lowest := os.dup(1))
        except OSError as error:  # also because the call has closed this one; that is put right later
            lowest = self._most if error.errno == errno.EMFILE else 0
        return "" if lowest < self._most else f"at least {lowest} file descriptors were left open"

    def _look_at_owner(self) -> str:
        return (
            ""
            if _owner() == self._owner
            else "it has another user, group or root folder, or has given up rights"
        )


def _limits() -> list[tuple[int, int]]:
    return list(map(resource.getrlimit, _NUMBERS))


def _processors() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _turns() -> tuple[int, int]:
    if not hasattr(os, "sched_getscheduler"):
        return 0, 0
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


def _ids() -> tuple[object, ...]:
    if not hasattr(os, "getresuid"):
        return os.getuid(), os.geteuid(), os.getgid(), os.getegid()
    return os.getresuid(), os.getresgid()  # also those that it could take again


def _owner() -> tuple[object, ...]:
    root = os.stat("/")  # noqa: PTH116  # asked after each call
    return _ids(), os.getgroups(), root.st_dev, root.st_ino, rights()

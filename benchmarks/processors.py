"""How many seconds of a processor each part of a stack takes: Flower, the workers, the servers, the browser."""

from __future__ import annotations

import os
from collections.abc import Mapping

import psutil


class Spent:
    """Seconds of processor time of some processes with all below them, since this was made.

    Args:
        pids: process by name. Those of the browser have to run already.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = {**pids, "client": os.getpid()}
        self._before = self._now()

    def told(self) -> dict[str, float]:
        """Tell the seconds by name; of this program alone, without the processes it started."""
        now = self._now()
        return {name: round(now[name] - self._before[name], 2) for name in self._pids}

    def _now(self) -> dict[str, float]:
        return {
            name: self._of(psutil.Process(pid), alone=name == "client") for name, pid in self._pids.items()
        }

    @staticmethod
    def _of(process: psutil.Process, *, alone: bool) -> float:
        total = 0.0
        for one in [process] if alone else [process, *process.children(recursive=True)]:
            try:
                times = one.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

"""Collect the cycles a call leaves, so that its finalizers run at the end of that call and not during another one."""

from __future__ import annotations

import gc
import time
from typing import Final

from worker.runner.kernel import give_back_memory

_LONG: Final = 0.01
"""Seconds. If a look at all takes longer, modules keep many from call to call, and only the young ones are looked at."""


class Garbage:
    """Treats the objects that exist when it is made as permanent, so that a look is short: the imports are done."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        give_back_memory()
        before = self._older_runs()
        gc.collect(1)
        self._runs = self._older_runs()
        self._step = self._runs - before
        """What a collection of ours adds: counting it costs less than looking again."""
        self._took = 0.0

    def collect(self) -> bool:
        """Collect what the call has made; tell whether there was any.

        Objects that have survived a collection during the call are older: then all have to be looked at.
        """
        if self._older_runs() == self._runs or self._took > _LONG:
            found = gc.collect(1)
            self._runs += self._step
        else:
            begun = time.perf_counter()
            found = gc.collect()
            self._took = time.perf_counter() - begun
            self._runs = self._older_runs()
        return found > 0

    @staticmethod
    def _older_runs() -> int:
        _, middle, old = gc.get_stats()
        return int(middle["collections"] + old["collections"])

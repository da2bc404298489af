"""Messages for a shard that this process works on already: the running steps take them along.

Each message of a shard with much to do takes a thread of the worker for as long as a step may last. Some of them, of one run
of thousands, would take all threads, and the one action of another shard would wait for seconds.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, nullcontext
from typing import Any

from reconciler.api.action import ActionId

_MOST = 2
"""Steps of one shard at a time: while one waits for the store, the other one plays."""
FEW = 16
"""A step of fewer actions is short, if none of its rounds waits for anything but the store …"""
_SHORT = 0.02
"""… and it has not taken longer than so many seconds."""


class Joined:
    """The steps that work on shards in this process at the moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work: Counter[int] = Counter()
        self._asked: dict[int, list[ActionId]] = {}

    def enter(self, shard: int, named: Sequence[ActionId]) -> bool:
        """Begin a step; False when enough steps run, which then take over what the message names."""
        with self._lock:
            if self._at_work[shard] < _MOST:
                self._at_work[shard] += 1
                return True
            self._asked.setdefault(shard, []).extend(named)
            return False

    def asked(self, shard: int) -> bool:
        """Tell whether a message waits to be taken over."""
        return shard in self._asked

    def leave(self, shard: int) -> list[ActionId] | None:
        """End a step; or continue with what messages have named meanwhile, if there were any."""
        with self._lock:
            if shard in self._asked:
                return self._asked.pop(shard)
            self._end(shard)
            return None

    def give_up(self, shard: int) -> None:
        """End a failed step: what waits for it is left to others, or to the resync sweep."""
        with self._lock:
            self._end(shard)
            if not self._at_work[shard]:
                self._asked.pop(shard, None)

    @contextmanager
    def waits(self, shard: int) -> Iterator[None]:
        """Do not count a step while it waits for slow handles."""
        with self._lock:
            self._end(shard)
        try:
            yield
        finally:
            with self._lock:
                self._at_work[shard] += 1

    def _end(self, shard: int) -> None:
        self._at_work[shard] -= 1
        if self._at_work[shard] <= 0:
            del self._at_work[shard]


class Budget:
    """The time of one step, and the messages that wait for it.

    Args:
        seconds: how long it may go on claiming.
        shard: which it drains.
        joined: who else drains it; None for a step of some actions alone.
        make_way: called before anything that may take long.
    """

    def __init__(
        self, seconds: float, shard: int, joined: Joined | None, make_way: Callable[[], None] | None = None
    ) -> None:
        self._make_way = make_way
        self._began = time.monotonic()
        self._ends = self._began + seconds
        self._shard = shard
        self._joined = joined

    def left(self) -> float:
        """Return the seconds that are left."""
        return max(0.0, self._ends - time.monotonic())

    def make_way(self) -> None:
        """Say that what follows may take long."""
        if self._make_way is not None:
            self._make_way()

    def go_on(self, claimed: int) -> None:
        """Make way before the next claim of a step that is no longer short."""
        if claimed >= FEW or time.monotonic() - self._began > _SHORT:
            self.make_way()

    def asked(self) -> bool:
        """Tell whether a message waits to be taken over."""
        return self._joined is not None and self._joined.asked(self._shard)

    def over(self) -> bool:
        """Tell whether the step must end, or begin again with what a message names."""
        return not self.left() or self.asked()

    def wait(self, running: Sequence[Future[Any]]) -> set[Future[Any]]:
        """Wait for slow handles while there are some; others may work on the shard meanwhile."""
        with self._joined.waits(self._shard) if self._joined is not None else nullcontext():
            return wait(running, timeout=self.left()).done

"""The sleeps of a call, and the time of the store as far as a function's process knows it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from reconciler.children.arrivals import Arrivals


class Sleeps:
    """The sleeps that are not over, by the numbers of their requests."""

    def __init__(self) -> None:
        self._until: dict[int, float] = {}
        self._clock: tuple[int, float] = (0, 0.0)

    def __contains__(self, number: int) -> bool:
        return number in self._until

    def set_clock(self, now: int) -> None:
        """Note the store's time, ms."""
        self._clock = (now, time.monotonic())

    def now(self) -> float:
        """Return the store's time as far as this process knows it, ms."""
        at, then = self._clock
        return at + (time.monotonic() - then) * 1000

    def begin(self, number: int, until: int) -> None:
        """Note a sleep, and the time at which it ends, ms."""
        self._until[number] = until

    def end(self, number: int) -> None:
        """Forget a sleep."""
        self._until.pop(number, None)

    def wake(self, arrived: Arrivals) -> None:
        """Note the sleeps whose time has come."""
        now = self.now()
        for number, until in list(self._until.items()):
            if until <= now:
                del self._until[number]
                arrived.add(until, number)

    def first(self) -> int:
        """Return when the first sleep ends, ms; 0 when there is none."""
        return int(min(self._until.values(), default=0))

    def first_of(self, numbers: Sequence[int]) -> float | None:
        """Return when the first of these sleeps ends, ms; None when one of them is not a sleep."""
        times = [self._until.get(number) for number in numbers]
        known = [time for time in times if time is not None]
        return min(known) if known and len(known) == len(times) else None

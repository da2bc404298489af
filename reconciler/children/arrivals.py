"""Keep ends until the function is told of them: in the order in which they came, the same in each pass."""

from __future__ import annotations

import heapq

from reconciler.children.requests import End


class Arrivals:
    """Ends of children and of sleeps, the earliest first; within one ms in the order they were asked for."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, End | None]] = []
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._heap)

    def until(self, told: float) -> bool:
        """Tell whether one of them was over at this time, ms."""
        return bool(self._heap) and self._heap[0][0] <= told

    def add(self, at: float, number: int, end: End | None = None) -> None:
        """Note since when a wait is over, ms: for a child with its end, for a sleep without one."""
        self._count += 1
        heapq.heappush(self._heap, (at, number, self._count, end))

    def next(self) -> tuple[float, int, End | None]:
        """Take the earliest: its time, the number of its request, and its end.

        Raises:
            IndexError: there is none.
        """
        at, number, _, end = heapq.heappop(self._heap)
        return at, number, end

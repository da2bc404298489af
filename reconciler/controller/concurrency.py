"""Limit how many actions one process reconciles at a time, over all shards and threads (R2)."""

from __future__ import annotations

import threading
import time


class Slots:
    """Counts actions claimed and not yet committed. Nobody who holds slots waits for more, so no two wait for each other.

    Args:
        most: slots there are, at least 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._changed = threading.Condition()

    def lower(self, most: int) -> None:
        """Allow at most this many from now on."""
        with self._changed:
            self._most = min(self._most, most)

    def take(self, wanted: int, timeout: float) -> int:
        """Take up to `wanted` slots, as many as are free; wait while none is.

        Args:
            wanted: at least 1.
            timeout: longest wait, seconds.

        Returns:
            How many were taken; 0 when the time is over. `give` them back.
        """
        ends = None
        with self._changed:
            while self._taken >= self._most:
                ends = ends or time.monotonic() + timeout
                left = ends - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            taken = max(0, min(wanted, self._most - self._taken))
            self._taken += taken
            return taken

    def give(self, count: int) -> None:
        """Return slots."""
        if count:
            with self._changed:
                self._taken -= count
                self._changed.notify_all()

    @property
    def taken(self) -> int:
        """Slots in use."""
        return self._taken

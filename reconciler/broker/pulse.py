"""Remember when this process last showed that it takes messages, and that its event loop turns.

kombu asks Redis with BRPOP, which is answered within a second, message or not. So a consumer that works is heard every
second, and one that was silent for much longer while the broker answers others has stopped consuming, as after the
broken reconnects of celery#8030, which no exit of a process ever told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Pulse:
    """Written by the transport in the event loop, read by whoever watches; one per process.

    Attributes:
        busy: whether the pool runs anything, where that is known. With all slots taken and nothing running, the consumer has
            lost them, and will never ask again.
    """

    def __init__(self) -> None:
        self._cycle: Any = None
        self.busy: Callable[[], bool] = lambda: True
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self._heard = self._turned = time.monotonic()

    def beat(self) -> None:
        """The broker answered the consumer, or nothing was to be asked of it."""
        self._heard = time.monotonic()

    def follow(self, cycle: Any) -> None:  # noqa: ANN401  # kombu's poller has no type
        """Watch the poller of the newest connection; those of lost ones stay in the event loop and say nothing."""
        self._cycle = cycle

    def turn(self, cycle: Any) -> None:  # noqa: ANN401  # as above
        """The event loop came by with this poller."""
        if cycle is not self._cycle:
            return
        self._turned = time.monotonic()
        # A worker whose slots are all taken does not ask, nor does one that was told to leave its queues.
        asking = (channel.qos.can_consume() for channel in cycle._channels if channel.active_queues)  # noqa: SLF001  # kombu's own
        if cycle._channels and not any(asking) and (self.busy() or not self._consumes(cycle)):  # noqa: SLF001  # kombu's own
            self.beat()

    @staticmethod
    def _consumes(cycle: Any) -> bool:  # noqa: ANN401  # as above
        return any(channel.active_queues for channel in cycle._channels)  # noqa: SLF001  # kombu's own

    def silent_for(self) -> float:
        """Seconds since the consumer was last heard."""
        return time.monotonic() - self._heard

    def still_for(self) -> float:
        """Seconds since the event loop last turned."""
        return time.monotonic() - self._turned


pulse = Pulse()

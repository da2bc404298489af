"""Signs of life of this process: when its consumer last took messages, and when its event loop last turned.

kombu asks Redis with BRPOP, which is answered within a second, message or not. So a working consumer is heard every
second. One that is silent for much longer, while the broker answers others, has stopped consuming: the broken reconnects of
celery#8030 leave such consumers behind, in a process that never exits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Liveness:
    """The signs of life of one process: the transport notes them in the event loop, `worker.consuming` reads them.

    Attributes:
        busy: tells whether the pool runs anything, where that is known. When all slots are taken and nothing runs, the
            consumer has lost them and will never ask again.
    """

    def __init__(self) -> None:
        self._cycle: Any = None
        self.busy: Callable[[], bool] = lambda: True
        self.begin()

    def begin(self) -> None:
        """Start to count from now on."""
        self._heard = self._turned = time.monotonic()

    def beat(self) -> None:
        """Note that the broker answered the consumer, or that there was nothing to ask."""
        self._heard = time.monotonic()

    def follow(self, cycle: Any) -> None:  # noqa: ANN401  # kombu's poller has no type
        """Watch the poller of the newest connection. Those of lost connections stay in the loop, but no longer count."""
        self._cycle = cycle

    def turn(self, cycle: Any) -> None:  # noqa: ANN401  # as above
        """Note that the event loop came by with this poller."""
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
        """Tell how many seconds ago the consumer was last heard."""
        return time.monotonic() - self._heard

    def still_for(self) -> float:
        """Tell how many seconds ago the event loop last turned."""
        return time.monotonic() - self._turned


liveness = Liveness()

"""Send the messages of a step: look at a shard now, or at a later time."""

from __future__ import annotations

import structlog

from reconciler import metrics
from reconciler.api.errors import BrokerUnavailable
from reconciler.broker.messages import Messenger
from reconciler.stores.base import Store

log = structlog.get_logger(__name__)


class Wakes:
    """Sends wake-ups. One that cannot be sent is logged: the sweep sends again what is overdue.

    Args:
        store: the records.
        messenger: what sends.
    """

    def __init__(self, store: Store, messenger: Messenger) -> None:
        self._store = store
        self._messenger = messenger

    def wake(self, shard: int, countdown: float = 0.0) -> None:
        """Have a shard looked at after this many seconds."""
        try:
            self._messenger.wake(shard, countdown)
            metrics.woken(sent=True)
        except BrokerUnavailable as error:
            metrics.woken(sent=False)
            log.warning("wake.not_sent", shard=shard, error=str(error))

    def wake_overdue(self, shard: int) -> None:
        """Have a shard looked at if something is due in it and no message is on its way."""
        if self._store.nudge(shard):
            self.wake(shard)

    def arm(self, shard: int, at: int, now: int) -> None:
        """Have a shard looked at when its earliest action is due, ms."""
        self.wake(shard, max(0, at - now) / 1000)

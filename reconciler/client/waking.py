"""Send wake-ups after something was stored."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from reconciler.api.errors import BrokerUnavailable
from reconciler.broker.messages import Messenger

log = structlog.get_logger(__name__)


class Waker:
    """Wakes shards through a messenger."""

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger

    def wake(self, shards: Sequence[int]) -> None:
        """Send a wake-up to each shard. One that cannot be sent is logged: the resync sweep sends it later."""
        for shard in shards:
            try:
                self._messenger.wake(shard)
            except BrokerUnavailable as error:
                log.warning("wake.not_sent", shard=shard, error=str(error))

"""Sweep: look at shards nobody was told about.

Wake-up messages get lost when a worker or the broker is killed. The due index knows better: whatever is due for longer than
a grace gets a new message, and whatever is due soon gets the countdown that died with its worker. Harm it can do: one
superfluous message per shard. Safe to run twice and on two hosts.
"""

from __future__ import annotations

import structlog

from reconciler import metrics
from reconciler.api.errors import BrokerUnavailable
from reconciler.broker.messages import Messenger
from reconciler.stores.base import Store

log = structlog.get_logger(__name__)
GRACE = 1000
"""How long something may be due before its wake-up counts as lost, ms."""


def resync(store: Store, messenger: Messenger, grace: int = GRACE) -> int:
    """Send the messages that are missing; returns how many.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    sent = 0
    for shard, late, at, _, now in store.look(grace):
        try:
            messenger.wake(shard, 0.0 if late else max(0, at - now) / 1000)
        except BrokerUnavailable as error:
            metrics.woken(sent=False)
            log.warning("resync.not_sent", shard=shard, error=str(error))
            return sent
        metrics.woken(sent=True)
        sent += 1
        if late:
            log.info("resync.overdue", shard=shard, late_ms=now - at)
    return sent

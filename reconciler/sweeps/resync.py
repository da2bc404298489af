"""Sweep: look at shards and lines for which a message may have been lost.

Wake-up messages get lost when a worker or the broker is killed. The due index knows better: whatever is due for longer than
a grace gets a new message, and whatever is due soon gets the countdown that died with its worker. A line with launches whose
queue has no ticket on its way gets one. Harm it can do: one superfluous message per shard and per queue. Safe to run twice
and on two hosts.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from reconciler import metrics
from reconciler.api.errors import BrokerUnavailable
from reconciler.broker.messages import Messenger
from reconciler.stores.base import Late, Store
from reconciler.stores.lines import Head
from reconciler.tickets import by_queue, send_ticket

log = structlog.get_logger(__name__)
GRACE = 1000
"""How long something may be due before its wake-up counts as lost, ms."""


def resync(store: Store, messenger: Messenger, grace: int = GRACE, *, anew: bool = False) -> int:
    """Send the messages that are missing; return how many.

    Args:
        store: where to look.
        messenger: sends them.
        grace: how long something may be due before its wake-up counts as lost, ms.
        anew: send countdowns again, too. For a worker that starts: those of a killed one died with it, and nobody would
            notice before their time and the grace.
    """
    look = store.look(grace, anew=anew)
    try:
        return _wake(messenger, look.late) + _send_tickets(store, messenger, look.lines)
    except BrokerUnavailable as error:
        log.warning("resync.not_sent", error=str(error))
        return 0


def _wake(messenger: Messenger, late: Sequence[Late]) -> int:
    for one in late:
        try:
            messenger.wake(one.shard, 0.0 if one.overdue else max(0, one.next_due - one.now) / 1000)
        except BrokerUnavailable:
            metrics.woken(sent=False)
            raise
        metrics.woken(sent=True)
        if one.overdue:
            log.info("resync.overdue", shard=one.shard, late_ms=one.now - one.next_due)
    return len(late)


def _send_tickets(store: Store, messenger: Messenger, lines: Sequence[Head]) -> int:
    """Announce lines again, and send tickets that were lost. While one is waiting for a worker, a second would not help."""
    needed = [queue for queue, heads in by_queue(lines).items() if store.announce(queue, heads)]
    return sum(not messenger.waiting(queue) and send_ticket(messenger, queue) for queue in needed)

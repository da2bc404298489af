"""Tickets: how the workers of a queue learn that launches stand in its lines.

A ticket is an ordinary message, "queue q has work". Lost, doubled or late it costs time, never a launch: the lines are the
truth, and the resync sweep sends again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from reconciler.api.errors import BrokerUnavailable, Unavailable
from reconciler.broker.messages import Messenger
from reconciler.stores.lines import Head, Lines

log = structlog.get_logger(__name__)


def announce(lines: Lines, messenger: Messenger, heads: Iterable[Head]) -> int:
    """Announce lines with launches to their queues; return how many tickets were sent.

    What cannot be told is left to the resync sweep.
    """
    return sum(announce_queue(lines, messenger, queue, found) for queue, found in by_queue(heads).items())


def by_queue(heads: Iterable[Head]) -> dict[str, list[Head]]:
    """Group lines by the queue they belong to."""
    found: dict[str, list[Head]] = {}
    for head in heads:
        found.setdefault(head.line.partition("/")[0], []).append(head)
    return found


def announce_queue(lines: Lines, messenger: Messenger, queue: str, heads: Sequence[Head] = ()) -> bool:
    """Announce one queue as `announce` does; without lines, send the ticket that a queue with launches needs."""
    return note_heads(lines, queue, heads) and send_ticket(messenger, queue)


def note_heads(lines: Lines, queue: str, heads: Sequence[Head]) -> bool:
    """Note lines of a queue that have launches; return whether a ticket has to be sent."""
    try:
        return lines.announce(queue, heads)
    except Unavailable as error:
        log.warning("line.not_announced", queue=queue, error=str(error))
        return False


def announce_anew(lines: Lines, messenger: Messenger, queue: str) -> bool:
    """Send the ticket a queue with launches needs, also while one seems to be on its way; True when one was sent."""
    left = lines.pick(queue, worker="", served=(), first=True, choose=False)
    return bool(left.lines) and announce_queue(lines, messenger, queue)


def send_ticket(messenger: Messenger, queue: str) -> bool:
    """Send one ticket; False when the broker does not take it."""
    try:
        messenger.ticket(queue)
    except BrokerUnavailable as error:
        log.warning("ticket.not_sent", queue=queue, error=str(error))
        return False
    return True

"""Forward the results channel to a topic exchange: all steps workers share one consumer group.

The position is that of the group, in the store. An event is acknowledged when the broker has it, so whoever is killed
leaves what it held to the others, or to its successor.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

import structlog

from reconciler import metrics
from reconciler.api.errors import EventRefused, Unavailable
from reconciler.api.event import ActionEvent, AuditEntry
from reconciler.api.status_conditions import cut
from reconciler.broker.exchange import EventExchange
from reconciler.client.channel import Channel, Reader
from reconciler.settings import Settings
from reconciler.stores.base import ChannelEntry, Store

T = TypeVar("T")
log = structlog.get_logger(__name__)

_AT_ONCE = 20
"""Events of one shard that are read at once: few, so that they are acknowledged long before others may take them over."""
_TOGETHER = 50
"""Events that are published and acknowledged together."""
_BLOCK = timedelta(seconds=1)
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 15.0
_FOREIGN = re.compile(r"[^A-Za-z0-9]+")


def group_of(settings: Settings) -> str:
    """Name the group that forwards: an exchange with another name begins with the oldest event that is kept."""
    return f"exchange-{settings.events_exchange}"


def reader_of(settings: Settings, worker: str, idle: timedelta = timedelta(minutes=1)) -> Reader:
    """Make a worker's reader in the group.

    Args:
        settings: which installation and exchange.
        worker: node name; the same one after a restart, or each restart would leave a consumer behind.
        idle: how long an event may stay with a silent forwarder.
    """
    name = _FOREIGN.sub("-", worker)[:63].strip("-") or "worker"
    return Channel(settings).reader(group_of(settings), name, idle=idle)


class Forwarder(threading.Thread):
    """Reads, publishes and acknowledges until it is stopped. A server that is away is waited for.

    Args:
        reader: where events come from; closed at the end.
        exchange: where they go; closed at the end.
        store: keeps the warnings about events that cannot be forwarded.
    """

    def __init__(self, reader: Reader, exchange: EventExchange, store: Store) -> None:
        super().__init__(name="reconciler-forwarder", daemon=True)
        self._reader = reader
        self._exchange = exchange
        self._store = store
        self._ends = threading.Event()

    def stop(self) -> None:
        """Begin no more; what was read is still published, unless a server is away. `join` waits for it."""
        self._ends.set()

    def run(self) -> None:
        """Forward until it is stopped."""
        pause = 0.0
        while not self._ends.wait(pause):
            pause = 0.0
            try:
                self._forward_some()
            except Unavailable:
                break  # told already, and only raised to end
            except Exception:
                log.exception("forward.failed")
                pause = _LONGEST_PAUSE
        self._exchange.close()
        self._reader.close()

    def _forward_some(self) -> None:
        """Finish what was read also when the end is asked for: others would have to wait before they take it over."""
        entries = self._persist(lambda: self._reader.read(limit=_AT_ONCE, block=_BLOCK))
        for start in range(0, len(entries), _TOGETHER):
            some = entries[start : start + _TOGETHER]
            self._forward(some)
            self._persist(partial(self._reader.ack, some))

    def _forward(self, entries: Sequence[ChannelEntry]) -> None:
        """Publish together; if that fails for another reason than an outage, one by one (R59)."""
        try:
            self._persist(lambda: self._exchange.publish([entry.event for entry in entries]))
        except Unavailable:
            raise
        except Exception as error:
            if len(entries) > 1:
                for entry in entries:
                    self._forward([entry])
                return
            if not isinstance(error, EventRefused):
                log.exception("forward.failed")
            self._set_aside(entries[0].event, str(error) or repr(error))
            return
        now = time.time()
        for entry in entries:
            metrics.forwarded("sent", now - entry.event.reported_time / 1000)

    def _set_aside(self, event: ActionEvent, error: str) -> None:
        """Report that an event is not forwarded; it stays in the channel for its retention."""
        log.warning("forward.refused", action=str(event.id), sequence=event.sequence, error=error)
        metrics.forwarded("refused")
        metrics.audited("EventNotForwarded")
        warning = AuditEntry(
            id=event.id,
            reason="EventNotForwarded",
            action="Forward",
            message=cut(f"event {event.sequence} was not forwarded: {error}"),
            at=int(time.time() * 1000),
        )
        self._persist(lambda: self._store.record_audit([warning]))

    def _persist(self, call: Callable[[], T]) -> T:
        """Repeat a call until the server answers.

        Raises:
            Unavailable: it does not, and the end was asked for.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                return call()
            except Unavailable as error:
                log.warning("forward.unavailable", error=str(error))
                if self._ends.wait(pause):
                    raise
                pause = min(2 * pause, _LONGEST_PAUSE)

"""Stand by for tickets: who has run all that stood in the lines keeps his slot for a while, and is told of what comes.

A ticket that goes through Celery passes the broker, the worker's main process and the pipe of its pool, which takes longer
than to pick and draw. Only a worker of one queue stands by (staying.py), and only until its ticket is ten seconds old.
"""

from __future__ import annotations

import time

import structlog

from reconciler.api.errors import BrokerUnavailable, Unavailable
from reconciler.broker.messages import Messenger
from reconciler.stores.redis.hearing import TicketsHeard
from reconciler.stores.redis.store import RedisStore
from reconciler.wiring import Engine
from worker.attempts.staying import staying

log = structlog.get_logger(__name__)
_LISTENS = 0.25
"""Longest wait, in seconds, until a shutdown is noticed."""


class Standby:
    """The stand-by of one process, for one queue after the other."""

    def __init__(self) -> None:
        self._heard: dict[str, TicketsHeard] = {}

    def told(self, engine: Engine, queue: str, until: float) -> bool:
        """Stand by for a queue; True when there is a ticket.

        Args:
            engine: of this process; only a store on Redis tells.
            queue: of attempts.
            until: when to give the slot back, by the monotonic clock, seconds.
        """
        store = engine.store
        if not isinstance(store, RedisStore) or not self._may(queue, until):
            return False
        heard = self._heard.get(queue) or self._heard.setdefault(queue, TicketsHeard(store, queue))
        try:
            if not heard.begin():
                return False
        except Unavailable as error:
            return self._away(queue, error)
        try:
            return self._await(heard, engine.messenger, queue, until)
        except Unavailable as error:
            return heard.end() or self._away(queue, error)
        except BaseException:
            heard.end()
            raise

    def _await(self, heard: TicketsHeard, messenger: Messenger, queue: str, until: float) -> bool:
        while self._may(queue, until):
            if heard.next(_LISTENS):
                return True
            if not heard.stay() or _waiting(messenger, queue):
                break
        return heard.end()

    @staticmethod
    def _away(queue: str, error: Unavailable) -> bool:
        """Go without standing by: the resync sweep sends a ticket once the server is back."""
        log.warning("line.unavailable", queue=queue, error=str(error))
        return False

    @staticmethod
    def _may(queue: str, until: float) -> bool:
        return time.monotonic() < until and staying.allowed(queue)


def _waiting(messenger: Messenger, queue: str) -> bool:
    """Tell whether a message needs the slot: one that was sent before, or by somebody else."""
    try:
        return bool(messenger.waiting(queue))
    except BrokerUnavailable:
        return False

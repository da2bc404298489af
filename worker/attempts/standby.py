"""Stand by for tickets: who has run all that stood in the lines keeps his slot for a while, and is told of what comes.

A ticket that goes through Celery passes the broker, the worker's main process and the pipe of its pool, which takes longer
than to pick and draw. Only a worker of one queue stands by (staying.py), and only until its ticket is ten seconds old.
"""

from __future__ import annotations

import time

import structlog

from reconciler.api.errors import Unavailable
from reconciler.stores.redis.hearing import TicketsHeard
from reconciler.stores.redis.store import RedisStore
from worker.attempts.staying import staying

log = structlog.get_logger(__name__)
_LISTENS = 0.25
"""Longest wait, in seconds, until a shutdown is noticed."""


class Standby:
    """The stand-by of one process, for one queue after the other."""

    def __init__(self) -> None:
        self._heard: dict[str, TicketsHeard] = {}

    def told(self, store: object, queue: str, until: float) -> bool:
        """Stand by for a queue; True when there is a ticket.

        Args:
            store: the records; only one on Redis tells.
            queue: of attempts.
            until: when to give the slot back, by the monotonic clock, seconds.
        """
        if not isinstance(store, RedisStore) or not self._may(queue, until):
            return False
        heard = self._heard.get(queue) or self._heard.setdefault(queue, TicketsHeard(store, queue))
        try:
            return heard.begin() and self._await(heard, queue, until)
        except Unavailable as error:  # the resync sweep sends a ticket once the server is back
            log.warning("line.unavailable", queue=queue, error=str(error))
            return False

    def _await(self, heard: TicketsHeard, queue: str, until: float) -> bool:
        try:
            while self._may(queue, until):
                if heard.next(_LISTENS):
                    return True
                if not heard.stay():
                    break
        except BaseException:
            heard.end()
            raise
        return heard.end()

    @staticmethod
    def _may(queue: str, until: float) -> bool:
        return time.monotonic() < until and staying.allowed(queue)

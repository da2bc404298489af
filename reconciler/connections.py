"""Find dead connections to Redis before a command is lost on them.

A firewall that forgot its connections closes none: each swallows what is sent, and each command would wait for its whole
time limit. They die together, so what one connection shows is true of all that are as old. Records and messages share this
module, because a process has connections for both.
"""

from __future__ import annotations

import os
import time
from typing import Any
from weakref import WeakValueDictionary

_TRUSTED_FOR = 1.0
"""Seconds after an answer in which a connection is used without asking; a busy one never asks."""
_ANSWERS_WITHIN = 1.0
"""Seconds a connection has for a PING. A slow server misses it too, and loses nothing by a new connection."""

_pools: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""Pools of redis-py by their `id`."""


def answers(connection: Any) -> bool:  # noqa: ANN401  # redis-py's connection; brokers import no redis
    """Tell whether a connection still answers; if not, close it and the idle connections of this process.

    Args:
        connection: an open connection of redis-py with a `health_check_interval`, which owes no answer.
    """
    heard = connection.next_health_check - connection.health_check_interval
    if time.monotonic() - heard <= _TRUSTED_FOR:
        return True
    try:
        connection.send_command("PING", check_health=False)
        connection.read_response(timeout=_ANSWERS_WITHIN)
    except Exception:  # noqa: BLE001  # whatever is wrong with this connection, a new one tells
        connection.disconnect()
        drop_idle()
        return False
    return True


class _AskFirst:
    """Tests a connection of redis-py with a PING after a pause, and replaces it if that fails.

    No command has been sent by then, so nothing is done twice, and no WATCH is lost with the old connection.
    """

    def connect(self) -> None:
        """Connect if need be: the pool calls it whenever it hands out this connection. Raises redis-py's errors."""
        connection: Any = self
        base: Any = super()
        if not (connection.is_connected and answers(connection)):
            base.connect()


def guard(pool: Any) -> None:  # noqa: ANN401  # redis-py's pool; kombu's have no types, and brokers import no redis
    """Let the pool's future connections ask first, and close its idle ones when others are found dead.

    Args:
        pool: a new connection pool of redis-py whose connections are given a `health_check_interval`.
    """
    kind = pool.connection_class
    pool.connection_class = type(kind.__name__, (_AskFirst, kind), {})
    _pools[id(pool)] = pool


def drop_idle() -> None:
    """Close the idle connections of this process to every Redis; the next commands open new ones."""
    for reference in _pools.valuerefs():  # a copy: other threads add pools
        pool = reference()
        if pool is not None and pool.pid == os.getpid():  # after a fork the others are the parent's
            pool.disconnect(inuse_connections=False)

"""Decide how long a consumer waits before it tries a lost broker again.

kombu's waits grow to 30 s, and Celery cannot be told otherwise: after a long outage a worker would idle for up to
half a minute beside a broker that works.
"""

from __future__ import annotations

import math
import time
from typing import Any

from celery.app.amqp import AMQP
from kombu.connection import Connection

_FIRST = 1.0
_LONGEST = 5.0
_APART = 1.0
"""Seconds between two connections of a consumer, which a broker may let in and then refuse."""


class _Last:
    """The time of this process's last connection."""

    at = -math.inf


class EagerConnection(Connection):
    """Tries again after 1, 2, 3, 4 and then every 5 seconds, and connects at most once a second."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Connection:  # noqa: ANN401  # handed through to kombu
        """Connect as kombu does, with shorter waits unless the caller says which."""
        time.sleep(max(0.0, _Last.at + _APART - time.monotonic()))
        _Last.at = time.monotonic()
        waits = {"interval_start": _FIRST, "interval_step": _FIRST, "interval_max": _LONGEST}
        connection: Connection = super().ensure_connection(*args, **{**waits, **kwargs})  # type: ignore[no-untyped-call]  # kombu is not
        return connection


class EagerAMQP(AMQP):  # type: ignore[misc]  # Celery has no types
    """Celery's messaging, over these connections."""

    Connection = EagerConnection

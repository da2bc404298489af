"""Notice that this worker has stopped taking messages though the broker works, and end it.

The case is real (celery#8030 and its likes): after a broken line the process lives, holds its place and does nothing.
Our transport drops a half-open line within 7 s and reconnects: this is the net below. A worker that no longer consumes is
replaced by whatever started it (systemd, Docker, `reconciler dev`), so all it has to do is end, with a status that says why.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery
from celery.worker import state
from kombu.exceptions import OperationalError

from reconciler.broker.address import read_address
from reconciler.broker.liveness import Liveness, liveness
from reconciler.settings import Settings

log = structlog.get_logger(__name__)

EXIT_STATUS = 75
"""EX_TEMPFAIL of sysexits.h: start it again."""
_LOOK_EVERY = 5.0
_STILL = 10.0
"""Seconds without a turn of the event loop after which it cannot be asked to end."""


class ConsumerWatch:
    """Compares what the consumer hears with what a new connection of the same process hears.

    Args:
        app: the worker's application; its broker is asked.
        heard: the liveness of this process.
        patience: seconds for which the broker has to answer us, and not the consumer; 0 looks never.
        consumes: whether the worker is to take messages at all; one that shuts down is not.
    """

    def __init__(self, app: Celery, heard: Liveness, patience: float, consumes: Callable[[], bool]) -> None:
        self._app = app
        self._consumes = consumes
        self._liveness = heard
        self._patience = patience
        self._looked = 0.0
        self._answers_since: float | None = None
        heard.begin()

    def stuck(self) -> bool:
        """Tell whether the consumer has stopped for good. Takes no time while messages arrive.

        An outage does not count, nor a frozen process: the clock starts anew when the broker answers again.
        """
        now = time.monotonic()
        if not self._patience or not self._consumes() or self._liveness.silent_for() < self._patience:
            self._answers_since = None
            return False
        if now - self._looked < min(_LOOK_EVERY, self._patience / 2):
            return False
        self._looked = now
        if not self._broker_answers():
            self._answers_since = None
            return False
        if self._answers_since is None:
            self._answers_since = now
        return now - self._answers_since >= self._patience

    def leave(self) -> None:
        """End this worker: after what it runs if its event loop still reacts, else at once."""
        silent, still = self._liveness.silent_for(), self._liveness.still_for()
        warm = still < min(_STILL, self._patience)
        log.error(
            "consumer.stuck", silent_s=round(silent, 1), loop_still_s=round(still, 1), waits_for_work=warm
        )
        if warm:
            state.should_stop = EXIT_STATUS
        else:
            # children of the pool end with it (PR_SET_PDEATHSIG), and their attempts' leases
            os._exit(EXIT_STATUS)

    def _broker_answers(self) -> bool:
        connection = self._app.connection_for_read()
        try:
            client: Any = connection.default_channel.client
            return bool(client.ping())
        except (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors):
            return False
        finally:
            connection.close()


def watch_of(app: Celery, settings: Settings, consumes: Callable[[], bool]) -> ConsumerWatch | None:
    """Make the watch of this process's worker; None for brokers that our transport does not serve."""
    if read_address(settings.effective_broker_url()).family != "redis":
        return None
    return ConsumerWatch(app, liveness, settings.consumer_patience.total_seconds(), consumes)

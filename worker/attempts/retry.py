"""Go on through an outage: S3 is asked again until the attempt must stop, and its end is told until the store takes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import structlog

from reconciler.api.errors import BlobUnavailable, PluginError, Unavailable
from reconciler.core.retries import is_outage
from worker.attempts.heartbeat import Heartbeat

T = TypeVar("T")
log = structlog.get_logger(__name__)
OUTAGE = 120.0
"""How long something is retried while a server is away, seconds."""
_LOOK = 0.25
"""Between two looks at whether the attempt shall stop, seconds."""


def retry_outages(do: Callable[[], T], beat: Heartbeat, grace: float) -> T:
    """Do something that needs S3, and retry it through an outage as long as the attempt need not stop.

    Args:
        do: reads or writes; a call that was given up may still be running when this has returned.
        beat: knows whether the attempt shall stop.
        grace: seconds that `do` may still take from then on.

    Raises:
        BlobUnavailable: the attempt shall stop, and `do` took longer than the grace.
        Whatever `do` raises: at once when no outage is the cause, else after two minutes of retries.
    """
    ends, wait = time.monotonic() + OUTAGE, 0.5
    while True:
        try:
            return _unless_stopped(do, beat, grace)
        except (Unavailable, PluginError) as error:
            if not is_outage(error) or beat.reason() or time.monotonic() >= ends:
                raise
            log.warning("attempt.s3_again", error=str(error))
            _pause(wait, beat)
            wait = min(wait * 2, 5.0)


def tell_through_outages(tell: Callable[[], T]) -> T:
    """Report until the store takes it: a finished attempt must not be lost when Redis restarts.

    Raises:
        StoreUnavailable: the store was away for two minutes.
    """
    ends, wait = time.monotonic() + OUTAGE, 0.2
    while True:
        try:
            return tell()
        except Unavailable as error:
            if time.monotonic() >= ends:
                raise
            log.warning("attempt.report_again", error=str(error))
            time.sleep(wait)
            wait = min(wait * 2, 5.0)


def _pause(seconds: float, beat: Heartbeat) -> None:
    """Pause, but end when the attempt must stop: an abort does not wait for the next try."""
    ends = time.monotonic() + seconds
    while not beat.reason() and time.monotonic() < ends:
        time.sleep(_LOOK)


def _unless_stopped(do: Callable[[], T], beat: Heartbeat, grace: float) -> T:
    """Run it in a thread of its own: a large object takes minutes on a slow connection, and an abort must not wait.

    A call that is given up goes on in the background until S3's time limits end it. That does no harm: it writes where
    only this launch writes, and nobody is told of it.
    """
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(do())
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            done.set_exception(error)

    try:
        threading.Thread(target=work, name="reconciler-s3", daemon=True).start()
    except (
        RuntimeError
    ):  # no thread is left on this host: an abort has to wait, the work of a function is not lost
        return do()
    left = grace
    while True:
        try:
            return done.result(_LOOK)
        except TimeoutError:
            if done.done():
                return done.result()
        if beat.reason():
            left -= _LOOK
            if left <= 0:
                raise BlobUnavailable(
                    f"S3 took longer than the {grace:g} s that were left to it when the attempt was asked to stop "
                    f"({beat.reason()}). Look at the connection to S3, or raise RECONCILER_ABORT_GRACE."
                )

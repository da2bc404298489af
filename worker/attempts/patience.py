"""Read and write S3 for an attempt: patient with a server that is away, and bounded once the attempt shall stop."""

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
"""How long something is tried again while a server is away, seconds."""
_LOOK = 0.25
"""Between two looks at whether the attempt shall stop, seconds."""


def patiently(do: Callable[[], T], beat: Heartbeat, grace: float) -> T:
    """Do something that needs S3, again and again through an outage, while nobody wants the attempt to stop.

    Args:
        do: reads or writes; a copy of it that was given up may still be running when this has returned.
        beat: knows whether the attempt shall stop.
        grace: seconds it may still take then.

    Raises:
        BlobUnavailable: the attempt shall stop, and it took longer than that.
        Whatever `do` raises: at once when no outage is behind it, else after two minutes.
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


def _pause(seconds: float, beat: Heartbeat) -> None:
    """Let time pass, but not once the attempt shall stop: an abort does not wait for the next try."""
    ends = time.monotonic() + seconds
    while not beat.reason() and time.monotonic() < ends:
        time.sleep(_LOOK)


def _unless_stopped(do: Callable[[], T], beat: Heartbeat, grace: float) -> T:
    """In a thread of its own: a large object on a slow line takes minutes, and an abort must not wait for it.

    What is given up goes on in the background for as long as S3's time limits let it. It does no harm: it writes where
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
    patience = grace
    while True:
        try:
            return done.result(_LOOK)
        except TimeoutError:
            if done.done():
                return done.result()
        if beat.reason():
            patience -= _LOOK
            if patience <= 0:
                raise BlobUnavailable(
                    f"S3 took longer than the {grace:g} s that were left to it when the attempt was asked to stop "
                    f"({beat.reason()}). Look at the line to the server, or raise RECONCILER_ABORT_GRACE."
                )

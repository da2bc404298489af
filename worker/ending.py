"""Say by the exit status that a worker ended though nobody asked for it; Celery says 0, which no supervisor answers.

And end one that was asked to by `SIGQUIT` once nothing runs: Celery sleeps through the whole time it gives to what runs.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from celery import Celery
from celery.bootsteps import StartStopStep
from celery.exceptions import WorkerTerminate
from celery.platforms import EX_FAILURE
from celery.worker import state

from worker.attempts.staying import staying
from worker.faults import is_shortage
from worker.slots import slots
from worker.start import AGAIN

_celery_log = logging.getLogger("celery.worker")
_SETTLES = 0.4
"""Seconds in which a slot that stands by has left, or works on what it was told last."""
_LOOKS = 0.05


class Ending(StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step of a worker that does nothing but look at how it ends."""

    def terminate(self, parent: Any) -> None:  # noqa: ANN401  # Celery's worker
        """Look at a cold shutdown."""
        parent.exitcode = status_of_end(parent.exitcode, sys.exception())


def watch_ends(app: Celery) -> None:
    """Look at how the workers of this application end; call it before one is made."""
    app.steps["worker"].add(Ending)


def end_once_done(worker: Any) -> None:  # noqa: ANN401  # Celery's worker
    """Let a soft shutdown of a worker take as long as something runs, at most as long as Celery would wait."""
    worker.wait_for_soft_shutdown = partial(_wait, worker.app.conf.worker_soft_shutdown_timeout)


def _wait(seconds: float) -> None:
    requests = tuple(state.active_requests)
    staying.end()  # before Celery says that it ends: it waits first
    if not requests:
        return
    ends = time.monotonic() + seconds
    time.sleep(min(_SETTLES, seconds))
    if _works(requests):
        _celery_log.warning("Initiating Soft Shutdown, terminating in %s seconds at most", seconds)
    while time.monotonic() < ends and _works(requests):
        time.sleep(_LOOKS)


def _works(requests: Iterable[Any]) -> bool:
    """Tell whether anything runs. The event loop stands still meanwhile, so Celery does not know what has ended."""
    if slots.of_threads:
        return slots.busy()
    return any(one.worker_pid is None or staying.works(one.worker_pid) for one in requests)


def status_of_end(status: int | None, error: BaseException | None) -> int | None:
    """Choose the exit status of a worker that ends because of this error; the one Celery has chosen if it is right.

    Celery ends itself when its consumer has no file left to open, and loses the status on the way. A start that fails in its
    own parts has 1, also when the host is merely short of something.
    """
    by_itself = isinstance(error, WorkerTerminate) and state.should_terminate in (None, False)
    short = status == EX_FAILURE and error is not None and is_shortage(error)
    return AGAIN if by_itself or short else status

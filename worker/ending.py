"""Say by the exit status that a worker ended though nobody asked for it; Celery says 0, which no supervisor answers."""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery
from celery.bootsteps import StartStopStep
from celery.exceptions import WorkerTerminate
from celery.platforms import EX_FAILURE
from celery.worker import state

from worker.faults import is_shortage
from worker.start import AGAIN


class Ending(StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step of a worker that does nothing but look at how it ends."""

    def terminate(self, parent: Any) -> None:  # noqa: ANN401  # Celery's worker
        """Look at a cold shutdown."""
        parent.exitcode = status_of_end(parent.exitcode, sys.exception())


def watch_ends(app: Celery) -> None:
    """Look at how the workers of this application end; call it before one is made."""
    app.steps["worker"].add(Ending)


def status_of_end(status: int | None, error: BaseException | None) -> int | None:
    """Choose the exit status of a worker that ends because of this error; the one Celery has chosen if it is right.

    Celery ends itself when its consumer has no file left to open, and loses the status on the way. A start that fails in its
    own parts has 1, also when the host is merely short of something.
    """
    by_itself = isinstance(error, WorkerTerminate) and state.should_terminate in (None, False)
    short = status == EX_FAILURE and error is not None and is_shortage(error)
    return AGAIN if by_itself or short else status

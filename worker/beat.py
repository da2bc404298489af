"""Celery's beat scheduler, with one plain sentence when a send fails."""

from __future__ import annotations

from typing import Any

import structlog
from celery.beat import PersistentScheduler, SchedulingError

log = structlog.get_logger(__name__)


class Scheduler(PersistentScheduler):  # type: ignore[misc]  # Celery has no types
    """Logs each failed send in one line, where Celery writes two tracebacks: an outage causes many of them.

    Nothing is lost by one: the next comes in its time, and steps workers look by themselves when none comes for long.
    """

    def apply_entry(self, entry: Any, producer: Any = None) -> None:  # noqa: ANN401  # Celery's objects
        """Send what is due."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            why = " ".join(str(error.__cause__ or error.__context__ or error).split())
            log.warning("beat.not_sent", task=entry.task, error=why, again=f"in {_period(entry)}")


def _period(entry: Any) -> str:  # noqa: ANN401  # Celery's object
    seconds = getattr(entry.schedule, "run_every", None)
    return f"{seconds.total_seconds():g} s" if seconds is not None else "its time"

"""Logs of a worker: structlog at the level Celery was given, one line per event on standard error."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import MutableMapping

import structlog
from celery.exceptions import CPendingDeprecationWarning

from reconciler.core.visible import visible


def _visible(_: object, __: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Make all texts harmless for a terminal: names and errors of users are among them."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value)
    return event


def configure(level: int | str) -> None:
    """Set the level of all structlog events of this process.

    Args:
        level: a level of `logging`, by number or name.
    """
    number = (
        level
        if isinstance(level, int)
        else logging.getLevelNamesMapping().get(str(level).upper(), logging.WARNING)
    )
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _visible,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.LogfmtRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def leave_out_advice() -> None:
    """Leave out what Celery advises whenever it loses the broker: the setting is chosen, and its tasks are not ours.

    Celery shows all such warnings from its start on, so this comes after it.
    """
    warnings.filterwarnings("ignore", r"\s*In Celery 5\.1 we introduced", CPendingDeprecationWarning)

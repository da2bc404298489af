"""The options that say when an action may begin, when it expires, and whose turn comes first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypedDict, TypeVar

import click

from reconciler.api.schedule import Moment
from reconciler.cli.durations import duration

F = TypeVar("F", bound=Callable[..., Any])


class Plan(TypedDict):
    """Arguments of `Client.submit` and `Task.submit`."""

    priority: int | None
    countdown: float | None
    eta: datetime | None
    expires: Moment | None


def plan_options(command: F) -> F:
    """Add `--priority`, `--countdown`, `--eta` and `--expires`."""
    for option in (
        click.option(
            "--expires",
            type=_moment,
            metavar="DURATION|TIME",
            help="Abort it unless it has begun: after a time from now, or at a point in time, as --eta.",
        ),
        click.option(
            "--eta",
            type=_time,
            metavar="TIME",
            help="When it may begin, as 2026-12-24T18:00:00Z; the offset is needed.",
        ),
        click.option(
            "--countdown", type=duration, help="How long to wait before it may begin, as 90, 10s or 2h."
        ),
        click.option(
            "--priority",
            type=click.IntRange(0, 9),
            help="0 (last) to 9 (first).  [default: of the task, of the parent, or 5]",
        ),
    ):
        command = option(command)
    return command


def _moment(text: str) -> Moment:
    return _time(text) if "T" in text or ":" in text else duration(text)


def _time(text: str) -> datetime:
    """Read a point in time; the client reports what it lacks.

    Raises:
        BadParameter: it is none.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time; write it as 2026-12-24T18:00:00Z.") from None

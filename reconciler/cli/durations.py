"""Read lengths of time from options. Cheap to import, since health checks run often."""

from __future__ import annotations

import click

from reconciler.settings import parse_duration


def duration(text: str) -> float:
    """Read the seconds of `90`, `10s` or `2h`.

    Raises:
        BadParameter: anything else, or a negative one.
    """
    try:
        seconds = parse_duration(text).total_seconds()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{text!r} is {error}.") from error
    if seconds < 0:
        raise click.BadParameter(f"{text!r} is negative; 0 looks once and does not wait.")
    return seconds

"""Milliseconds since the epoch as UTC. Imports nothing of ours, so that the help of the command line stays quick."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def iso(at: int) -> str | None:
    """Write a time as ISO 8601 in UTC with milliseconds; None for 0, which means "not yet".

    Args:
        at: milliseconds since the epoch.
    """
    if not at:
        return None
    return utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(at: int) -> datetime:
    """Convert milliseconds to a time in UTC, exactly: a division to floating point seconds would not be.

    Args:
        at: milliseconds since the epoch.
    """
    return _EPOCH + timedelta(milliseconds=at)


def span(length: int) -> str:
    """Write a length of time in its two largest units: `0s`, `59s`, `3m20s`, `2h`, `5d1h`.

    Args:
        length: milliseconds; a negative one, from clocks that differ, counts as 0.
    """
    left = max(length, 0) // 1000
    parts: list[str] = []
    for seconds, unit in _UNITS:
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return "".join(parts[:2]) or "0s"

"""Milliseconds since the epoch as UTC. Imports nothing of ours, so that the help of the command line stays quick."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(at: int) -> str | None:
    """A time as ISO 8601 in UTC with milliseconds; None for 0, which means "not yet".

    Args:
        at: milliseconds since the epoch.
    """
    if not at:
        return None
    return utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(at: int) -> datetime:
    """A time in UTC, exact, as a division to floating point seconds would not be.

    Args:
        at: milliseconds since the epoch.
    """
    return _EPOCH + timedelta(milliseconds=at)

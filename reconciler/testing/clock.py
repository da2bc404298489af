"""A clock that stands still until it is moved."""

from __future__ import annotations

from datetime import timedelta

START = 1_700_000_000_000
"""Where a virtual clock begins: 2023-11-14 22:13:20 UTC, in ms since the epoch."""


class VirtualClock:
    """Call it for the time in ms since the epoch."""

    def __init__(self, at: int = START) -> None:
        self.at = at

    def __call__(self) -> int:
        """Return the time, ms since the epoch."""
        return self.at

    def advance(self, by: timedelta | int) -> None:
        """Move on by a duration, or by a number of ms."""
        self.at += by if isinstance(by, int) else int(by.total_seconds() * 1000)

    def move_to(self, at: int) -> None:
        """Move on to a time; never backwards."""
        self.at = max(self.at, at)

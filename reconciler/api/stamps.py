"""Write times as text, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def completed_label(at: int) -> str:
    """Write a time as `YYYY-MM-DD.HH-MM` in UTC: minute precise, and sorted like time (R8)."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d.%H-%M")


def second(at: int) -> str:
    """Write a time, ms since the epoch, precise to the second: `2026-11-28T12:30:00Z`."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

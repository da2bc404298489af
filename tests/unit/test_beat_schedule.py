"""What beat sends is still worth something when it arrives."""

from __future__ import annotations

import pytest

from beat_schedule import BEAT_SCHEDULE
from reconciler.cli.standing import SWEEPS

S3_REFUSES = 900.0
"""Seconds by which a clock may be off before S3 refuses its signatures: no worker runs on a worse one."""


@pytest.mark.parametrize("name", sorted(BEAT_SCHEDULE))
def test_a_tick_survives_clocks_that_are_minutes_apart(name: str) -> None:
    """Beat's clock may be slow and a worker's fast by all that S3 lets pass: the tick has not expired."""
    options = BEAT_SCHEDULE[name]["options"]
    assert isinstance(options, dict)
    assert options["expires"] >= 2 * S3_REFUSES


def test_health_tells_the_next_tick_of_each() -> None:
    """The command cannot import the schedule, which the folder it runs in may hide: its periods are the same."""
    assert {name: entry["schedule"] for name, entry in BEAT_SCHEDULE.items()} == {
        name: every / 1000 for name, every in SWEEPS.items()
    }

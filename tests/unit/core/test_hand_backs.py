"""How long a launch rests that a worker handed back."""

from __future__ import annotations

import random

import pytest

from reconciler.core.retries import hand_back_delay


@pytest.mark.parametrize(("times", "least"), [(1, 250), (2, 500), (3, 1000), (4, 2000), (40, 2000)])
def test_the_rest_grows_and_is_partly_random(times: int, least: int) -> None:
    """Doubled with each time up to a bound, and up to as much again, so that no worker is met in a rhythm."""
    rng = random.Random(1)
    rests = [hand_back_delay(times, rng) for _ in range(200)]
    assert least <= min(rests) < max(rests) <= 2 * least

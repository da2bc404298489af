"""What a submission may say of its time and its turn, and what it is told when that makes no sense (R83)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from reconciler.api.errors import InvalidSpec
from reconciler.api.schedule import NOW, check_priority, schedule

pytestmark = pytest.mark.rule("R83")
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
NOON_MS = 1_795_867_200_000


def test_nothing_said_is_nothing_asked() -> None:
    """Without options an action runs at once, in no special order."""
    assert schedule() == NOW


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"countdown": 1.5}, (-1500, 0)),
        ({"countdown": timedelta(days=36_500)}, (-36_500 * 86_400_000, 0)),
        ({"countdown": 0}, (0, 0)),
        ({"countdown": 0.0001}, (0, 0)),
        ({"eta": NOON}, (NOON_MS, 0)),
        ({"eta": datetime(2026, 11, 28, 14, tzinfo=timezone(timedelta(hours=2)))}, (NOON_MS, 0)),
        ({"eta": datetime(1999, 1, 1, tzinfo=UTC)}, (915_148_800_000, 0)),
        ({"expires": NOON}, (0, NOON_MS)),
        ({"expires": 60}, (0, -60_000)),
        ({"expires": 0}, (0, -1)),
        ({"countdown": 10, "expires": 11}, (-10_000, -11_000)),
        ({"eta": NOON, "expires": NOON + timedelta(seconds=1)}, (NOON_MS, NOON_MS + 1000)),
        ({"eta": NOON, "expires": timedelta(days=9999)}, (NOON_MS, -9999 * 86_400_000)),
    ],
)
def test_times_are_points_or_delays(options: dict[str, Any], expected: tuple[int, int]) -> None:
    """Points are ms since the epoch; delays are negative until the store knows when the action was accepted."""
    plan = schedule(**options)
    assert (plan.not_before, plan.expires_at) == expected


def test_turns_are_kept() -> None:
    """Priority and fair key are as they were given; the lowest priority is none that is missing."""
    plan = schedule(priority=0, fair_key="acme / ü")
    assert (plan.priority, plan.fair_key) == (0, "acme / ü")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"countdown": 1, "eta": NOON}, "not both"),
        ({"countdown": 0, "eta": NOON}, "not both"),
        ({"countdown": -1}, "from 0 seconds"),
        ({"countdown": timedelta(seconds=-1)}, "from 0 seconds"),
        ({"countdown": float("nan")}, "from 0 seconds"),
        ({"countdown": float("inf")}, "from 0 seconds"),
        ({"countdown": 10**400}, "from 0 seconds"),
        ({"countdown": timedelta.max}, "from 0 seconds"),
        ({"countdown": True}, "seconds or a timedelta"),
        ({"countdown": "5"}, "seconds or a timedelta"),
        ({"countdown": NOON}, "seconds or a timedelta"),
        ({"eta": datetime(2026, 11, 28)}, "no time zone"),  # noqa: DTZ001  # what is to be refused
        ({"eta": 5}, "a datetime with a time zone"),
        ({"eta": "2026-11-28"}, "a datetime with a time zone"),
        ({"eta": datetime(1969, 1, 1, tzinfo=UTC)}, "before 1970"),
        ({"expires": datetime(2026, 11, 28)}, "no time zone"),  # noqa: DTZ001  # as above
        ({"expires": -1}, "from 0 seconds"),
        ({"expires": float("nan")}, "from 0 seconds"),
        ({"expires": False}, "seconds or a timedelta"),
        ({"expires": [1]}, "seconds or a timedelta"),
        ({"eta": NOON, "expires": NOON}, "would never run"),
        ({"eta": NOON, "expires": NOON - timedelta(days=1)}, "would never run"),
        ({"countdown": 10, "expires": 10}, "would never run"),
        ({"countdown": 10, "expires": 0}, "would never run"),
        ({"fair_key": "x" * 257}, "257 characters"),
        ({"fair_key": "\ud800"}, "fair key"),
        ({"fair_key": 7}, "fair key"),
        *(({"priority": bad}, "from 0 (last) to 9") for bad in (-1, 10, True, 5.0, "5", [5])),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    """Each with a sentence that says what is allowed."""
    with pytest.raises(InvalidSpec) as refused:
        schedule(**options)
    assert says in str(refused.value)


@pytest.mark.parametrize("priority", range(10))
def test_ten_priorities(priority: int) -> None:
    """0 to 9, as in Celery."""
    assert check_priority(priority) == priority

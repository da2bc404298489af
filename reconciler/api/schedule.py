"""Options of a submission that say when an action may start, when it expires, and whose turn comes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import msgspec

from reconciler.api.bounds import MOST
from reconciler.api.errors import InvalidSpec
from reconciler.api.texts import check_text

HIGHEST = 9
DEFAULT_PRIORITY = 5
"""Priority of an action that names none."""
LONGEST_FAIR_KEY = 256
_LONGEST = timedelta(days=36_500)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Delay: TypeAlias = float | timedelta
"""Seconds when a number."""
Moment: TypeAlias = Delay | datetime
"""A number counts from acceptance on, a point in time is absolute."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """The time and the order in which an action runs.

    Attributes:
        priority: 0 (last) to 9 (first); None = that of the parent, or 5.
        fair_key: between whose values workers take turns; empty = that of the parent, or the project.
        not_before: no round launches it earlier: ms since the epoch; negative: this long after it is accepted.
        expires_at: it is aborted unless it has begun by then; the same two ways. 0 = never.
    """

    priority: int | None = None
    fair_key: str = ""
    not_before: int = 0
    expires_at: int = 0


NOW = Schedule()
"""The default: at once, in no special order."""


def schedule(
    *,
    priority: int | None = None,
    fair_key: str = "",
    countdown: Delay | None = None,
    eta: datetime | None = None,
    expires: Moment | None = None,
) -> Schedule:
    """Read the options of a submission.

    Args:
        priority: 0 (last) to 9 (first).
        fair_key: between whose values workers take turns.
        countdown: how long to wait before it may start, by the store's clock.
        eta: when it may start, with a time zone.
        expires: when it is aborted if it has not begun.

    Raises:
        InvalidSpec: a value is not allowed, or they contradict each other.
    """
    if countdown is not None and eta is not None:
        raise InvalidSpec("give countdown or eta, not both: each says when the action may start")
    start = 0
    if countdown is not None:
        start = -_delay("countdown", countdown)
    elif eta is not None:
        start = _moment("eta", eta)
    end = 0
    if expires is not None:
        end = (
            _moment("expires", expires)
            if isinstance(expires, datetime)
            else -max(1, _delay("expires", expires))
        )
    if start and end and (start > 0) == (end > 0) and abs(end) <= abs(start):
        raise InvalidSpec("expires is not after the time at which the action may start: it would never run")
    return Schedule(
        priority=None if priority is None else check_priority(priority),
        fair_key=check_fair_key(fair_key),
        not_before=start,
        expires_at=end,
    )


def check_fair_key(key: str) -> str:
    """Check a fair key and return it.

    Raises:
        InvalidSpec: it is no text, or too long.
    """
    check_text("the fair key", key, InvalidSpec)
    if len(key) > LONGEST_FAIR_KEY:
        raise InvalidSpec(f"the fair key has {len(key)} characters, at most {LONGEST_FAIR_KEY} are allowed")
    return key


def check_priority(priority: object) -> int:
    """Check a priority and return it.

    Raises:
        InvalidSpec: it is none.
    """
    if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= HIGHEST:
        raise InvalidSpec(
            f"priority must be a whole number from 0 (last) to {HIGHEST} (first), got {priority!r}"
        )
    return priority


def check_concurrency(concurrency: object) -> int:
    """Check how many members of a map may be open at a time, and return it.

    Raises:
        InvalidSpec: it is no such number.
    """
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or not 1 <= concurrency <= MOST:
        raise InvalidSpec(
            f"concurrency must be a whole number from 1 to {MOST}, got {concurrency!r:.80}: it says how many calls may be "
            "open at a time; leave it out to start all at once"
        )
    return concurrency


def _delay(what: str, value: object) -> int:
    """Convert a number of seconds or a timedelta to milliseconds."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value  # no float yet: an int may be too large for one
    else:
        raise InvalidSpec(f"{what} must be seconds or a timedelta, got {value!r:.100}")
    if not 0 <= seconds <= _LONGEST.total_seconds():
        raise InvalidSpec(f"{what} must be from 0 seconds to {_LONGEST.days} days, got {value!r:.100}")
    return round(seconds * 1000)


def _moment(what: str, value: object) -> int:
    """Convert a point in time to milliseconds since the epoch."""
    if not isinstance(value, datetime):
        raise InvalidSpec(f"{what} must be a datetime with a time zone, got {value!r}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidSpec(
            f"{what} {value.isoformat()} has no time zone: write datetime.now(UTC) + …, or give it one with tzinfo"
        )
    moment = round((value - _EPOCH).total_seconds() * 1000)
    if moment <= 0:
        raise InvalidSpec(f"{what} {value.isoformat()} is before 1970: give a later time")
    return moment


def options_of(plan: Schedule) -> dict[str, Any]:
    """Return a plan as the options from which `schedule` would read it again."""
    start, end = plan.not_before, plan.expires_at
    return {
        "priority": plan.priority,
        "fair_key": plan.fair_key,
        "countdown": timedelta(milliseconds=-start) if start < 0 else None,
        "eta": _EPOCH + timedelta(milliseconds=start) if start > 0 else None,
        "expires": (_EPOCH + timedelta(milliseconds=end) if end > 0 else timedelta(milliseconds=-end))
        if end
        else None,
    }

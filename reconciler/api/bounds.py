"""Bound numbers: what is larger could not be stored, or would never come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from reconciler.api.errors import InvalidArguments

MOST = 2**31 - 1
"""Largest number of a setting, and of a policy of a task."""
LONGEST = timedelta(days=3650)
"""Longest duration anywhere: due times beyond could not be told apart in the due index."""
_SHORTEST = timedelta(milliseconds=1)
"""What times are counted in."""
_MOST_OF = {"shards": 16_384, "metrics_port": 65_535, "max_object_size": 2**53, "inline_limit": 2**53}
_COUNTS = (
    "shards", "step_batch", "max_concurrent_reconciles", "max_total_system_failures", "max_cleanup_tries", "inline_limit",
)  # fmt: skip
_WITHOUT = dict.fromkeys(("cache_retention", "cache_max_age", "consumer_patience"), "without a limit")
_BY_ZERO = {"suspend_after": "at once", **_WITHOUT}
_POSITIVE = (
    "step_lease", "step_budget", "max_countdown", "attempt_lease", "abort_grace", "quota_lease",
    "connect_timeout", "socket_timeout", "cleanup_patience", "import_timeout", "unknown_function_patience",
)  # fmt: skip
_ELSEWHERE = ("requeue_duration", "max_system_failures")
"""Told in Flyte's words when they are negative."""


def out_of_bounds(prefix: str, values: Mapping[str, object]) -> list[str]:
    """List the settings that are too small or too large on their own, a sentence each, with the bound."""
    found = []
    for name, value in values.items():
        problem = ""
        if isinstance(value, timedelta):
            problem = _duration_problem(name, value)
        elif isinstance(value, int) and not isinstance(value, bool):
            problem = _number_problem(name, value)
        if problem:
            found.append(f"{prefix}{name.upper()} {problem}")
    return found


def _duration_problem(name: str, value: timedelta) -> str:
    if name in _POSITIVE and value <= timedelta(0):
        return "must be longer than 0 seconds"
    if name in _POSITIVE and value < _SHORTEST:
        return "must be at least 1 ms"
    if name in _BY_ZERO and value < timedelta(0):
        return f"must not be negative; 0 means {_BY_ZERO[name]}"
    if value < timedelta(0) and name not in _ELSEWHERE:
        return "must not be negative"
    return f"must be at most {LONGEST.days} days, got {value.days}" if value > LONGEST else ""


def _number_problem(name: str, value: int) -> str:
    if name in _COUNTS and value < 1:
        return f"must be at least 1, got {value}"
    most = _MOST_OF.get(name, MOST)
    if name == "metrics_port" and not 0 <= value <= most:
        return f"must be between 0 and {most}"
    if value < 0 and name not in _ELSEWHERE:
        return f"must not be negative, got {value}"
    return f"must be at most {most}" if value > most else ""


def check_timeout(timeout: object) -> float | None:
    """Check how long to wait, in seconds, and return it; None: as long as it takes.

    Raises:
        InvalidArguments: it is no number.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout != timeout:  # noqa: PLR0124  # not a number; no float yet, an int may be too large
        raise InvalidArguments(f"timeout must be a number of seconds or None, got {timeout!r:.100}")
    return float(min(max(timeout, -1), LONGEST.total_seconds()))  # a larger one may not even be a float

"""Check the policies of a task: the same rule for the decorator and for a submitted template."""

from __future__ import annotations

import math
from datetime import timedelta

from reconciler.api.template import RetryStrategy, TaskMetadata, Timeouts

LONGEST = timedelta(days=3650)
"""Longest duration anywhere: due times beyond could not be told apart in the due index."""
SHORTEST = timedelta(milliseconds=1)
"""What times are counted in."""
_LIMITS = ("queued", "running", "heartbeat", "overall")


def policy_problems(metadata: TaskMetadata) -> list[str]:
    """List what is wrong with the policies of a task, one sentence each."""
    return retry_problems(metadata.retries) + limit_problems(metadata.timeouts)


def retry_problems(strategy: RetryStrategy) -> list[str]:
    """List what is wrong with a retry strategy, one sentence each."""
    problems = []
    if strategy.retries < 0:
        problems.append(f"retries must not be negative, got {strategy.retries}")
    if strategy.backoff < timedelta(0) or not strategy.factor >= 1:
        problems.append("the back-off must not be negative, and its factor at least 1")
    if not math.isfinite(strategy.factor) or strategy.factor > 1000:
        problems.append(f"the factor of the back-off must be at most 1000, got {strategy.factor:g}")
    if max(strategy.backoff, strategy.max_backoff) > LONGEST or strategy.max_backoff < timedelta(0):
        problems.append(f"the longest back-off must be between 0 and {LONGEST.days} days")
    return problems


def limit_problems(timeouts: Timeouts) -> list[str]:
    """List what is wrong with time limits, one sentence each: a limit that ends every action at once, or never passes."""
    problems = []
    for name in _LIMITS:
        limit = getattr(timeouts, name)
        if limit is None:
            continue
        if limit < SHORTEST:
            problems.append(
                f"the {name} limit must be longer than 0 seconds, got {limit.total_seconds():g}; leave it out for none"
            )
        elif limit > LONGEST:
            problems.append(
                f"the {name} limit must be at most {LONGEST.days} days, got {limit.days}; leave it out for none"
            )
    return problems

"""Check the policies of a task: the same rule for the decorator and for a submitted template."""

from __future__ import annotations

from datetime import timedelta

from reconciler.api.bounds import LONGEST, MOST
from reconciler.api.template import RetryStrategy, TaskMetadata, Timeouts

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
    if strategy.retries > MOST:
        problems.append(f"retries must be at most {MOST}")
    if strategy.backoff < timedelta(0) or not strategy.factor >= 1:
        problems.append("the back-off must not be negative, and its factor at least 1")
    if not strategy.factor <= 1000:  # nor is it NaN
        problems.append("the factor of the back-off must be at most 1000")
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

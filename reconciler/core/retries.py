"""Decide how often and how soon something is tried again: two budgets and one back-off (R26, R31, R27, R33)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta

from reconciler.api.asked import AskedRetry
from reconciler.api.errors import PluginError, Unavailable
from reconciler.api.status import ActionStatus
from reconciler.api.template import RetryStrategy, TaskTemplate
from reconciler.api.transition import ErrorKind, ExecutionError

MAX_SYSTEM_FAILURES_EXCEEDED = "MaxSystemFailuresExceeded"
MAX_RETRIES_EXCEEDED = "MaxRetriesExceeded"
WORKER_LOST = "WorkerLost"
"""Code of an attempt whose lease ran out: its worker vanished."""
NON_RETRYABLE_CODES = frozenset(
    {"BadTaskSpecification", "MetadataTooLarge", "CorruptedPluginState", "QuotaUnknown"}
)
"""Codes no retry can help, raised or reported as a phase (R28)."""
_OF_THE_PLATFORM = frozenset({"CorruptedPluginState", "QuotaUnknown"})
"""Those of them that no user can mend."""
MAX_USER_RETRIES = 1000
"""Most user retries a template may ask for; more is read as this (a loop is not a retry)."""
SUSTAINED_PROGRESS = timedelta(seconds=60)
"""How long an attempt must run before earlier system failures are forgiven (R27)."""


def max_attempts(template: TaskTemplate | None) -> int:
    """Compute template retries + 1; 1 without a template or a retry strategy (R31)."""
    if template is None or template.metadata is None:
        return 1
    return min(max(template.metadata.retries.retries, 0), MAX_USER_RETRIES) + 1


def is_last(attempts: int, status: ActionStatus, most: int, asked: AskedRetry | None) -> bool:
    """Tell whether no attempt may follow the failed one. Attempts a function asks for have a bound of their own (R31).

    Args:
        attempts: how many there have been.
        status: of the action.
        most: how many the task may have.
        asked: the next attempt, when the function asked for it.
    """
    if asked is not None:
        return status.asked_retries >= MAX_USER_RETRIES
    return attempts - status.asked_retries >= most


def retry_strategy(template: TaskTemplate | None) -> RetryStrategy:
    """Find the retry strategy in force; none means no delay."""
    return template.metadata.retries if template and template.metadata else RetryStrategy()


def attempt_delay(strategy: RetryStrategy, failed_attempts: int, rng: random.Random) -> int:
    """Compute how many milliseconds to wait before the next attempt after `failed_attempts` failed ones (R33)."""
    base = strategy.backoff.total_seconds()
    if base <= 0:
        return 0
    seconds = min(
        base * max(strategy.factor, 1.0) ** min(failed_attempts - 1, 64), strategy.max_backoff.total_seconds()
    )
    return int(seconds * 1000 * (1 + rng.random() / 10))


def system_delay(requeue: int, failures: int, rng: random.Random) -> int:
    """Compute how many milliseconds to wait until the next try after `failures` consecutive system failures.

    The first one waits exactly the requeue duration (R27); each further one doubles it, up to 5 minutes, with up to
    10 % added at random (R33).
    """
    if failures <= 1:
        return requeue
    return int(min(requeue * 2 ** min(failures - 1, 32), 300_000) * (1 + rng.random() / 10))


def hand_back_delay(times: int, rng: random.Random) -> int:
    """Compute in how many milliseconds a launch that was handed back for the `times`-th time may be sent again.

    From 0.25 s, doubled with each time up to 2 s, and up to as much again at random: who waits longest for messages gets the
    next one, so the same worker would be asked for ever by what comes back in the same rhythm.
    """
    return int(min(250 * 2 ** min(times - 1, 3), 2_000) * (1 + rng.random()))


def causes(error: BaseException) -> Iterator[BaseException]:
    """List the error and everything it was raised from; `raise … from None` ends the chain."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)


def is_outage(error: BaseException) -> bool:
    """Tell whether an error was caused by a server that does not answer: nobody's fault, so it spends no budget."""
    return any(isinstance(cause, Unavailable) for cause in causes(error))


def non_retryable(code: str, message: str, kind: ErrorKind = ErrorKind.USER) -> ExecutionError:
    """Make the error that ends an action with a code no retry can help: the user's fault unless said otherwise.

    A corrupted plugin state is the platform's, whoever says it.
    """
    return ExecutionError(code, message, ErrorKind.SYSTEM if code in _OF_THE_PLATFORM else kind)


def non_retryable_code(error: BaseException) -> str:
    """Find the first code in the cause chain for which no retry can help; empty when there is none (R28)."""
    for cause in causes(error):
        code = (
            getattr(cause, "code", "") if isinstance(cause, PluginError) else getattr(cause, "error_code", "")
        )
        if code in NON_RETRYABLE_CODES:
            return str(code)
    return ""

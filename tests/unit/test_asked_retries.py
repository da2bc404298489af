"""Attempts that a function asks for itself (R31): they come when it says, find what it left, and spend no retry."""

from __future__ import annotations

import pytest

from reconciler import TaskEnvironment, current_attempt
from reconciler.api.asked import LARGEST_STATE, AskedRetry, RetryAsked
from reconciler.api.phase import ActionPhase
from reconciler.core import retries
from reconciler.testing import Lab
from worker.attempts.outcomes import describe as outcome_of
from worker.runner.errors import describe

pytestmark = pytest.mark.rule("R31")
env = TaskEnvironment("asked")
calls: list[tuple[int, str, int]] = []
_HOUR = 3_600_000


class _Clock:
    lab: Lab


def _note() -> tuple[int, str]:
    now = current_attempt()
    assert now is not None
    calls.append((now.attempt, now.carried, _Clock.lab.clock()))
    return now.attempt, now.carried


@env.task(retries=1)
def counts_up(until: int) -> int:
    """Asks for attempts until it has carried enough; fails once on its own in between."""
    attempt, carried = _note()
    count = int(carried or 0)
    if attempt == 2:
        raise ValueError("a failure of its own")
    if count < until:
        raise RetryAsked(AskedRetry(_HOUR, str(count + 1))) from RuntimeError(f"not yet: {count}")
    return count


@env.task()
def never_enough() -> None:
    """Asks for ever."""
    _note()
    raise RetryAsked(AskedRetry())


@pytest.fixture
def lab() -> Lab:
    """A lab whose client the tasks use."""
    calls.clear()
    _Clock.lab = Lab()
    env.client = _Clock.lab.client
    return _Clock.lab


def test_an_attempt_that_was_asked_for_spends_no_retry(lab: Lab) -> None:
    """Three asked attempts and one failure of its own: one retry is enough, and the state outlives that failure."""
    run = counts_up.delay(3)
    lab.work()
    record = lab.get(run.action)
    assert record.phase is ActionPhase.SUCCEEDED
    assert run.result() == 3
    assert [(attempt, carried) for attempt, carried, _ in calls] == [
        (1, ""),
        (2, "1"),
        (3, "1"),
        (4, "2"),
        (5, "3"),
    ]
    assert (record.status.attempts, record.status.asked_retries) == (5, 3)


def test_it_comes_after_the_delay_it_asked_for(lab: Lab) -> None:
    """The delay is the function's, not the back-off of the task."""
    counts_up.delay(1)
    lab.work()
    assert calls[1][2] - calls[0][2] >= _HOUR
    assert calls[2][2] - calls[1][2] < _HOUR, "its own failure waits as the strategy says: not at all"


def test_each_has_its_error_in_the_events(lab: Lab) -> None:
    """What it was raised from is the error of the attempt that ended so (R32)."""
    run = counts_up.delay(1)
    lab.work()
    errors = [event.error_info for event in lab.events(run.action) if event.error_info]
    assert [(error.code, error.message) for error in errors] == [
        ("RuntimeError", "not yet: 0"),
        ("ValueError", "a failure of its own"),
    ]


def test_asking_for_ever_has_an_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is that of user retries, and the error says so."""
    monkeypatch.setattr(retries, "MAX_USER_RETRIES", 4)
    run = never_enough.delay()
    lab.work()
    record = lab.get(run.action)
    assert (record.phase, len(calls)) == (ActionPhase.FAILED, 5)
    assert record.status.error_state is not None
    assert record.status.error_state.code == retries.MAX_RETRIES_EXCEEDED
    assert "it asked for another attempt 4 times, which is the most" in record.status.error_state.message


def test_a_state_that_is_too_large_is_refused_where_it_is_made() -> None:
    """It would lie in the record; the sentence says where large data belongs."""
    with pytest.raises(ValueError, match="store large data yourself, and pass where it lies"):
        RetryAsked(AskedRetry(0, "x" * (LARGEST_STATE + 1)))


def test_a_runner_tells_it_like_a_lab() -> None:
    """From the function's process to the outcome nothing of it is lost."""
    error = RetryAsked(asked := AskedRetry(5, "state"))
    error.__cause__ = KeyError("x")
    outcome = outcome_of(describe(error))
    assert (outcome.code, outcome.message, outcome.asked) == ("KeyError", "'x'", asked)
    assert outcome.retryable

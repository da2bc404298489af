"""Retries: an error of the function costs an attempt, and each attempt has its own end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import NonRetryableError, RetryStrategy, TaskEnvironment, current_attempt
from reconciler.api.errors import ActionFailed
from reconciler.testing import Lab

env = TaskEnvironment("manual4")


@env.task(retries=2)
def flaky(good_from: int) -> int:
    """Fail until the given attempt."""
    attempt = current_attempt()
    assert attempt is not None
    if attempt.attempt < good_from:
        raise ConnectionError("no route to host")
    return attempt.attempt


@env.task(retries=RetryStrategy(retries=2, backoff=timedelta(minutes=1)))
def patient() -> None:
    """Fail always, with a pause between attempts."""
    raise ConnectionError("no route to host")


@env.task(retries=5)
def hopeless() -> None:
    """Fail in a way no other attempt can help."""
    raise NonRetryableError("this file is no picture")


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client


def test_a_failed_attempt_is_followed_by_the_next(lab: Lab) -> None:
    """FAILED of attempt 1, then QUEUED of attempt 2, and one final event."""
    run = flaky.delay(2)
    lab.work()
    assert run.result() == 2
    story = [(e.attempt, str(e.phase)) for e in run.events()]
    assert story.index((1, "failed")) + 1 == story.index((2, "queued"))
    assert [event.final for event in run.events()].count(True) == 1


def test_each_attempt_keeps_its_error(lab: Lab) -> None:
    """`attempts` tells how each of them ended; the traceback of the last one is in the error."""
    run = flaky.delay(9)
    lab.work()
    assert [attempt.attempt for attempt in run.attempts()] == [1, 2, 3]
    with pytest.raises(ActionFailed, match="no route to host") as failed:
        run.result()
    assert failed.value.code == "ConnectionError"


def test_attempts_may_be_spaced(lab: Lab) -> None:
    """A back-off of one minute, doubled after each attempt, holds no worker."""
    began = lab.clock()
    patient.delay()
    lab.work()
    assert timedelta(milliseconds=lab.clock() - began) >= timedelta(minutes=2)


def test_some_errors_are_not_worth_a_retry(lab: Lab) -> None:
    """`NonRetryableError` ends the action at once, whatever its retries."""
    run = hopeless.delay()
    lab.work()
    assert len(run.attempts()) == 1
    with pytest.raises(ActionFailed, match="no picture"):
        run.result()

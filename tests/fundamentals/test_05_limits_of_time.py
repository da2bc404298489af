"""Limits of time: how long something may wait, run, be silent, or take in all."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import TaskEnvironment, Timeouts, current_attempt
from reconciler.api.errors import ActionTimedOut
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual5")
labs: list[Lab] = []


@env.task(timeout=timedelta(minutes=10))
def slow(minutes: int) -> str:
    """Take so long."""
    labs[-1].clock.advance(timedelta(minutes=minutes))
    return "done"


@env.task(timeout=timedelta(minutes=10), retries=1)
def sometimes_slow() -> str:
    """Take long the first time."""
    attempt = current_attempt()
    assert attempt is not None
    labs[-1].clock.advance(timedelta(minutes=11 if attempt.attempt == 1 else 1))
    return "done"


@env.task(timeout=Timeouts(queued=timedelta(minutes=5)))
def impatient() -> str:
    """Be of use only soon."""
    return "done"


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client
    labs.append(lab)


def test_what_ends_within_its_limit_succeeds(lab: Lab) -> None:
    """The limit counts from the start of the function."""
    run = slow.delay(0)
    lab.clock.advance(timedelta(hours=1))  # it waited, which is not running
    lab.work()
    assert run.result() == "done"


def test_a_running_limit_ends_the_attempt(lab: Lab) -> None:
    """A function that runs longer than it may is stopped, and its action ends timed out."""
    run = slow.delay(11)
    lab.work()
    assert run.phase is ActionPhase.TIMED_OUT
    with pytest.raises(ActionTimedOut):
        run.result()


def test_a_timed_out_attempt_is_tried_again(lab: Lab) -> None:
    """With `retries` the next attempt follows, as after any failed one."""
    run = sometimes_slow.delay()
    lab.work()
    assert run.result() == "done"
    assert [(e.attempt, e.phase) for e in lab.events(run.action) if e.phase.is_terminal()] == [
        (1, ActionPhase.TIMED_OUT),
        (2, ActionPhase.SUCCEEDED),
    ]


def test_a_limit_on_waiting_ends_what_nobody_takes_up(lab: Lab) -> None:
    """With `queued` a call that no worker takes ends timed out; it never runs afterwards."""
    run = impatient.delay()
    lab.settle()  # steps, but no worker for functions
    assert run.phase is ActionPhase.TIMED_OUT
    lab.work()
    assert run.phase is ActionPhase.TIMED_OUT

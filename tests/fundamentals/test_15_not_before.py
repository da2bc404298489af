"""Not before: when a call may begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler import TaskEnvironment, Timeouts
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual15")
calls: list[str] = []
DAY = timedelta(days=1)


@env.task(retries=1)
def note(name: str, fails: int = 0) -> str:
    """Note that it was called; fail so many times."""
    calls.append(name)
    if calls.count(name) <= fails:
        raise ValueError(name)
    return name


@env.task(timeout=Timeouts(queued=timedelta(minutes=5), overall=timedelta(hours=1)))
def impatient(name: str) -> str:
    """Be of use only soon."""
    calls.append(name)
    return name


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client
    calls.clear()


def now(lab: Lab) -> datetime:
    """What the clock of the lab shows."""
    return datetime.fromtimestamp(lab.clock() / 1000, UTC)


def later(lab: Lab, by: timedelta) -> None:
    """Time goes on, with workers."""
    end = lab.clock() + int(by.total_seconds() * 1000)
    lab.work(limit=by)
    lab.clock.move_to(end)
    lab.work(limit=timedelta(0))


@pytest.mark.rule("R83")
def test_a_countdown_is_waited_out(lab: Lab) -> None:
    """Not begun a moment before, and then at once."""
    run = note.submit(("later",), countdown=60)
    later(lab, timedelta(seconds=59))
    assert (calls, run.phase) == ([], ActionPhase.QUEUED)
    later(lab, timedelta(seconds=1))
    assert run.result(timeout=5) == "later"


@pytest.mark.rule("R83")
def test_an_eta_may_be_far_away(lab: Lab) -> None:
    """Nothing waits in any memory meanwhile: the due index knows."""
    run = note.submit(("in a month",), eta=now(lab) + 30 * DAY)
    later(lab, 29 * DAY)
    assert (calls, lab.store.launches_waiting()) == ([], {})
    later(lab, DAY)
    assert run.result(timeout=5) == "in a month"


@pytest.mark.rule("R83")
def test_an_eta_that_has_passed_is_now(lab: Lab) -> None:
    """A submission that comes too late for its time is not refused."""
    run = note.submit(("late",), eta=now(lab) - DAY)
    lab.work(limit=timedelta(0))
    assert run.result(timeout=5) == "late"


@pytest.mark.rule("R34")
def test_limits_of_time_count_from_the_eta(lab: Lab) -> None:
    """Waiting for its time is neither waiting in the queue nor a part of the whole."""
    run = impatient.submit(("patient",), countdown=DAY)
    later(lab, DAY)
    assert run.result(timeout=5) == "patient"
    late = impatient.submit(("nobody",), countdown=DAY)
    lab.settle(limit=2 * DAY)  # and no worker
    assert late.phase is ActionPhase.TIMED_OUT


@pytest.mark.rule("R75")
def test_the_same_key_with_another_time_is_the_first_action(lab: Lab) -> None:
    """Time and turn are no part of what is asked for: who repeats a submission need not repeat the minute."""
    first = note.submit(("a",), idempotency_key="k", eta=now(lab) + DAY, priority=9)
    again = note.submit(("a",), idempotency_key="k", eta=now(lab) + 2 * DAY, expires=3 * DAY)
    assert again.action == first.action
    assert lab.get(again.action).metadata == lab.get(first.action).metadata
    assert lab.get(first.action).metadata.priority == 9
    many = [note.map(["a", "b"], idempotency_key="m", countdown=time) for time in (60, 120)]
    assert many[0].action == many[1].action


@pytest.mark.rule("R53")
def test_a_question_has_a_time_too(lab: Lab) -> None:
    """It is asked at its time, and its limit counts from there; an answer that comes earlier ends it."""
    run = lab.client.condition("ship", timeout=DAY, countdown=30 * DAY)
    later(lab, 29 * DAY)
    assert run.phase is ActionPhase.QUEUED
    later(lab, DAY + timedelta(hours=23))
    assert run.phase is ActionPhase.PAUSED
    later(lab, DAY)
    assert run.phase is ActionPhase.TIMED_OUT
    early = lab.client.condition("ship", countdown=DAY)
    lab.client.signal(early.action, value=True)
    lab.settle(limit=timedelta(0))
    assert early.result(timeout=5) is True

"""Not after: until when a call has to begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler import TaskEnvironment
from reconciler.api.errors import ActionAborted
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual16")
calls: list[str] = []
DAY = timedelta(days=1)


@env.task(retries=1)
def note(name: str, fails: int = 0) -> str:
    """Note that it was called; fail so many times."""
    calls.append(name)
    if calls.count(name) <= fails:
        raise ValueError(name)
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


@pytest.mark.rule("R84")
def test_what_has_not_begun_in_time_is_aborted(lab: Lab) -> None:
    """With the reason, and never called, whoever comes later."""
    run = note.submit(("stale",), expires=60)
    lab.settle(limit=timedelta(seconds=61))  # and no worker: nobody draws, so a step ends it at its time
    assert run.phase is ActionPhase.ABORTED
    with pytest.raises(ActionAborted, match="had not begun by"):
        run.result(timeout=5)
    lab.work()
    assert calls == []
    assert lab.events(run.action)[-1].actor == "expired"


@pytest.mark.rule("R84")
def test_a_draw_after_the_time_gives_nothing(lab: Lab) -> None:
    """Also when the worker is faster than the step that ends it."""
    run = note.submit(("stale",), expires=60)
    lab.settle(limit=timedelta(seconds=1))
    lab.clock.advance(timedelta(seconds=61))
    assert lab.worker.work() == 0
    lab.work()
    assert (calls, run.phase) == ([], ActionPhase.ABORTED)


@pytest.mark.rule("R84")
def test_what_has_begun_does_not_expire(lab: Lab) -> None:
    """A retry after the time is no late beginning."""
    run = note.submit(("slow", 1), expires=60)
    lab.work(limit=timedelta(seconds=1))
    assert run.result(timeout=5) == "slow"
    again = note.submit(("again", 1), expires=60)
    lab.step()
    lab.worker.work()
    lab.clock.advance(DAY)
    lab.work()
    assert again.result(timeout=5) == "again"


@pytest.mark.rule("R84")
def test_expired_in_the_past_is_never_called(lab: Lab) -> None:
    """It is accepted, and ends at once with its reason: the caller sees one kind of end, whenever its call arrives."""
    run = note.submit(("old",), expires=now(lab) - DAY)
    lab.work(limit=timedelta(0))
    assert (calls, run.phase) == ([], ActionPhase.ABORTED)


@pytest.mark.rule("R84")
def test_a_group_may_expire(lab: Lab) -> None:
    """Each call by itself; the group ends as its members did."""
    run = note.map(["a", "b"], expires=60, keep_failures=True)
    lab.settle(limit=timedelta(seconds=61))
    assert [type(one) for one in run.outcomes(timeout=5)] == [ActionAborted, ActionAborted]


@pytest.mark.rule("R84")
def test_a_question_that_was_asked_does_not_expire(lab: Lab) -> None:
    """`expires` bounds when it is asked; how long it waits for its answer is its timeout."""
    asked = lab.client.condition("ship", expires=60)
    later(lab, DAY)
    assert asked.phase is ActionPhase.PAUSED
    never = lab.client.condition("ship", eta=now(lab) + 2 * DAY, expires=DAY)
    later(lab, 3 * DAY)
    assert never.phase is ActionPhase.ABORTED

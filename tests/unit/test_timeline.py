"""The bars of a timeline: past suspensions, launches, and what was taken over from another run."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import TaskEnvironment
from reconciler.api.phase import ActionPhase
from reconciler.core.status_conditions import terminal_time
from reconciler.testing import Lab
from worker.dashboard import detail
from worker.dashboard.rows import Bar, bars

env = TaskEnvironment("timeline")
BROKEN = {"now": True}


@env.task
def doubles(n: int) -> int:
    """Double; fail for odd numbers while it is broken."""
    if n % 2 and BROKEN["now"]:
        raise ValueError(n)
    return n * 2


@env.task
def waits_twice() -> int:
    """Wait for two children that may not begin yet, one after the other."""
    return sum(doubles.submit((n,), countdown=3600).result() for n in (2, 4))


@pytest.fixture
def lab() -> Lab:
    """An installation."""
    lab = Lab()
    env.client = lab.client
    return lab


def test_what_is_taken_over_has_no_bar_of_waiting(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stored as it ends: there is no time in which it waited, and no bar ends before it begins."""
    first = doubles.map([1, 2])
    lab.work()
    lab.clock.advance(timedelta(seconds=1))
    monkeypatch.setitem(BROKEN, "now", False)
    second = first.recover()
    lab.work()
    record = lab.get(second.id.action("m1"))
    assert record.phase is ActionPhase.RECOVERED
    at = terminal_time(record.status)
    assert bars(record) == [Bar("taken", at, at)]


def test_a_function_that_went_on_was_not_launched_again_after_a_failure(lab: Lab) -> None:
    """Row and page count how often it went on, apart from all launches."""
    run = waits_twice.delay()
    lab.work()
    record = lab.get(run.action)
    assert record.phase is ActionPhase.SUCCEEDED
    (row,) = (
        one
        for one in detail.rows_document(lab.client, run.id, "")["actions"]
        if one["name"] == run.action.action
    )
    page = detail.action_page(lab.client, run.action, read_only=True)
    for told in (row, page):
        assert (told["launches"], told["resumes"]) == (2, 2)
    assert page["system_failures"] == 0

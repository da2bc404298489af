"""The bars of a timeline: past suspensions, launches, and what was taken over from another run."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from msgspec.structs import replace

from reconciler import TaskEnvironment, sleep
from reconciler.api.phase import ActionPhase
from reconciler.core.status_conditions import terminal_time
from reconciler.testing import Lab
from worker.dashboard import detail
from worker.dashboard.changes import changes_document, named_document
from worker.dashboard.kinds import Bar
from worker.dashboard.rows import bars

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


@env.task
def sleeps_twice(lab_of: str) -> None:
    """Take three seconds before each of two sleeps, and after them."""
    for pause in (60, 120):
        _LABS[lab_of].clock.advance(RAN)
        sleep(pause)
    _LABS[lab_of].clock.advance(RAN)


RAN, QUEUED = timedelta(seconds=3), timedelta(seconds=5)
_LABS: dict[str, Lab] = {}


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


def test_past_suspensions_and_the_waits_to_go_on_have_bars(lab: Lab) -> None:
    """Each pass is told apart by the events; without them the bar says that it is of many passes."""
    _LABS["a"] = lab
    run = sleeps_twice.delay("a")
    for _ in range(3):
        lab.step()
        lab.clock.advance(QUEUED)
        lab.worker.work()
        lab.step()
        lab.clock.advance(timedelta(seconds=150))
    record, events = lab.get(run.action), lab.client.events(run.action)
    assert kinds(bars(record, events)) == [
        ("waits", 5), ("runs", 3), ("suspended", 150), ("whole", 5 + 6), ("suspended", 150), ("whole", 5 + 9)
    ]  # fmt: skip
    *before, last = events
    at = before[-1].updated_time + 5000
    seen = replace(
        before[-1], sequence=last.sequence, updated_time=at, cluster_events=(), log_context={"worker": "w"}
    )
    ran = bars(record, [*before, seen, replace(last, sequence=last.sequence + 1)])
    assert kinds(ran)[-2:] == [("waits", 5), ("runs", 9)]
    assert all(one.end == after.start for one, after in pairwise(ran))
    for known in ([], events[3:]):
        assert kinds(bars(record, known)) == [("waits", 5), ("passes", 3 + 150 + 11 + 150 + 14)]


def test_a_row_in_short_is_read_in_full_by_its_name(lab: Lab) -> None:
    """A page of many rows reads no events; a row that is seen, and the page of the action, have every pass."""
    run = waits_twice.delay()
    cursor = detail.run_document(lab.client, run.id, read_only=True)["cursor"]
    lab.work()
    rows = {one["name"]: one for one in detail.rows_document(lab.client, run.id, "")["actions"]}
    assert [name for name, one in rows.items() if one.get("brief")] == ["a0"]
    assert [bar.kind for bar in rows["a0"]["bars"]][-1] == "passes"
    (named,) = named_document(lab.client, run.id, ["a0"])["actions"]
    changed = next(
        one for one in changes_document(lab.client, run.id, cursor)["actions"] if one["name"] == "a0"
    )
    assert "brief" not in named
    assert [bar.kind for bar in named["bars"]].count("suspended") == 2
    assert changed["bars"] == named["bars"]
    assert detail.action_page(lab.client, run.action, read_only=True)["bars"] == named["bars"]


def kinds(found: list[Bar]) -> list[tuple[str, int]]:
    """Say what was done, and for how many seconds."""
    return [(bar.kind, (bar.end - bar.start) // 1000) for bar in found]

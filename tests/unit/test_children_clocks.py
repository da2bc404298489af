"""Time of a function that is suspended or starts over: what it has run is summed, and a fast loop has a brake."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from reconciler import Task, TaskEnvironment, Timeouts, continue_as_new, sleep
from reconciler.api.action import TaskAction
from reconciler.api.errors import ActionTimedOut
from reconciler.api.phase import ActionPhase
from reconciler.api.start_over import StartOver
from reconciler.api.status import ActionStatus
from reconciler.cli.get import _attempts
from reconciler.client.describing import describe
from reconciler.core.starting_over import next_start
from reconciler.testing import Lab

env = TaskEnvironment("clocks")
LIMITED = Timeouts(running=timedelta(seconds=3))
failed: list[int] = []
labs: list[Lab] = []


def work(seconds: float) -> None:
    """Make the running function seem to work."""
    labs[-1].clock.advance(timedelta(seconds=seconds))


@env.task(timeout=LIMITED)
def waits_between(seconds: float, times: int) -> int:
    """Work in each pass, and wait between them."""
    work(seconds)
    for _ in range(times - 1):
        sleep(timedelta(hours=1))
    return times


@env.task(timeout=LIMITED)
def starts_over(seconds: float, times: int) -> int:
    """Work, then start over."""
    work(seconds)
    if times > 1:
        continue_as_new(seconds, times - 1)
    return times


@env.task(timeout=LIMITED, retries=1)
def works_twice() -> int:
    """Fail its first attempt after most of its time."""
    sleep(1)
    work(2.5)
    if not failed:
        failed.append(1)
        raise ValueError("once")
    return len(failed)


@env.task
def loops(times: int) -> int:
    """Do nothing but start over."""
    if times > 1:
        continue_as_new(times - 1)
    return times


@pytest.fixture
def lab() -> Lab:
    """An installation whose tasks are those above."""
    lab = Lab()
    env.client = lab.client
    failed.clear()
    labs[:] = [lab]
    return lab


@pytest.mark.rule("R34", "R87", "R89")
@pytest.mark.parametrize("task", [waits_between, starts_over])
def test_the_running_limit_is_of_all_passes_together(lab: Lab, task: Task[[float, int], int]) -> None:
    """Three seconds are three passes of one second; the fourth ends it, and hours of waiting are not counted."""
    short, long = task.delay(0.7, 4), task.delay(0.8, 4)
    lab.work()
    assert short.result() == (4 if task is waits_between else 1)
    with pytest.raises(ActionTimedOut):
        long.result()
    record = lab.get(long.action)
    assert record.phase is ActionPhase.TIMED_OUT
    assert record.status.error_state is not None
    assert record.status.error_state.code == "RunningTimedOut"


@pytest.mark.rule("R34")
def test_a_retry_has_all_its_time(lab: Lab) -> None:
    """What the attempt before it has run is not counted."""
    run = works_twice.delay()
    lab.work()
    assert run.result() == 1


@pytest.mark.rule("R89")
def test_a_function_that_only_starts_over_has_a_brake(lab: Lab) -> None:
    """Ten starts are free, then they come further and further apart, a second at most; what runs is running."""
    run = loops.delay(10)
    began = lab.clock()
    lab.work()
    assert (run.result(), lab.clock()) == (1, began)
    run = loops.delay(60)
    lab.work(timedelta(milliseconds=900))
    record = lab.get(run.action)
    assert record.phase is ActionPhase.RUNNING
    assert record.status.running_at
    why = describe(lab.client, run.action)[0].why
    assert why is not None
    assert why.text.startswith("starts over: start 15 begins at 20")
    assert "the last 14 starts took less than 1 s each" in why.text
    lab.work()
    assert run.result() == 1
    # 100 + 200 + … + 1000 ms, then a second each
    assert lab.clock() - began == 5_500 + (59 - 20) * 1_000
    assert len(lab.events(run.action)) < 130
    assert _attempts(lab.get(run.action)) == "1 (started over 59 times)"


@pytest.mark.rule("R57", "R60")
@pytest.mark.parametrize("task", [waits_between, starts_over])
def test_each_event_has_its_own_time(lab: Lab, task: Task[[float, int], int]) -> None:
    """Each suspension and each pass is told at the time it came, though the phase is running all along."""
    run = task.delay(0.5, 3)
    lab.work()
    found = lab.events(run.action)
    told = [event for event in found if event.cluster_events]
    assert all(event.updated_time == event.reported_time for event in found)
    assert all(event.cluster_events[0].occurred_at == event.updated_time for event in told[1:])
    texts = " ".join(event.cluster_events[0].message for event in told)
    assert "goes on" in texts


def test_which_start_it_is_is_described(lab: Lab) -> None:
    """With the time at which it began."""
    run = starts_over.delay(1, 3)
    lab.step()
    for _ in range(2):
        lab.worker.work()
        lab.step()
    why = describe(lab.client, run.action)[0].why
    assert why is not None
    assert "; this is start 3, begun 20" in why.text


@pytest.mark.parametrize(
    ("before", "at", "begins", "fast"),
    [
        (None, 400, 400, 1),
        (None, 1_000, 1_000, 0),
        (StartOver(number=10, at=0, begins=0, fast=10), 40, 100, 11),
        (StartOver(number=99, at=0, begins=100, fast=98), 1_050, 1_100, 99),
        (StartOver(number=99, at=0, begins=100, fast=98), 1_100, 1_100, 0),
    ],
)
def test_when_the_next_start_may_begin(before: StartOver | None, at: int, begins: int, fast: int) -> None:
    """Counted from the begin of the start before it; one that lasts a second makes all well."""
    lab = Lab()
    env.client = lab.client
    record: TaskAction = lab.get(loops.delay(1).action)
    zero = record.metadata.may_begin_at
    if before is not None:
        moved = replace(before, at=before.at + zero, begins=before.begins + zero)
        record.status = ActionStatus(start_over=moved)
    assert next_start(record, zero + at) == (zero + begins, fast)

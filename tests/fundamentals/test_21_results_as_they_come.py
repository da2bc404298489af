"""Results as they come: taken one by one, in the order in which calls end."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from reconciler import NonRetryableError, TaskEnvironment, sleep
from reconciler.api.errors import ActionFailed, InvalidSpec, ResultTimeout
from reconciler.testing import Lab

env = TaskEnvironment("manual21")
calls: list[int] = []
passes: list[str] = []


@env.task()
def thumbnail(key: int, broken: int = -1) -> int:
    """Note the call."""
    calls.append(key)
    if key == broken:
        raise NonRetryableError(f"{key} is broken")
    return 10 * key


@env.task(retries=1)
def again() -> int:
    """Fail in the first attempt, for its map did."""
    broken = 1 if not passes else -1
    try:
        return sum(thumbnail.map([0, 1, 2], concurrency=1, broken=1).result())
    except ActionFailed:
        passes.append("failed")
        if broken == 1:
            raise
        return len(calls)


@env.task()
async def nap(seconds: float) -> float:
    """Take so long."""
    await sleep(seconds)
    return seconds


@env.task()
async def takes(seconds: list[float], concurrency: int | None) -> list[float]:
    """Take results as they come."""
    found = []
    async for each in nap.map(seconds, concurrency=concurrency).as_completed():
        found.append(each)
        passes.append(str(found))
    return found


@env.task()
def takes_plainly(seconds: list[float]) -> list[str]:
    """Take results with their places, and errors for results."""
    run = nap.map(seconds, concurrency=2)
    return [f"{index}: {each}" for index, each in run.as_completed(indexed=True)]


@env.task()
def stops_at_an_error(keys: int) -> list[str]:
    """Note what came before the error."""
    found: list[str] = []
    try:
        for each in thumbnail.map(range(keys), concurrency=1, broken=2).as_completed():
            found.append(str(each))  # noqa: PERF401  # what came before the error is kept
    except ActionFailed as error:
        found.append(error.message)
    return found


@env.task()
def takes_errors(keys: int) -> list[str]:
    """Take errors for results."""
    run = thumbnail.map(range(keys), concurrency=1, broken=2)
    return [type(each).__name__ for each in run.as_completed(return_exceptions=True)]


@env.task()
def takes_one() -> list[int]:
    """Take a single call for a map."""
    return list(thumbnail.delay(1).as_completed())


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client
    calls.clear()
    passes.clear()


@pytest.mark.parametrize("concurrency", [None, 2])
def test_results_are_taken_as_they_come(lab: Lab, concurrency: int | None) -> None:
    """The same in each pass, though all may have ended by then."""
    run = takes.delay([9.0, 3.0, 6.0, 200.0, 1.0], concurrency)
    lab.work()
    found = run.result()
    assert found == ([1.0, 3.0, 6.0, 9.0, 200.0] if concurrency is None else [3.0, 9.0, 6.0, 1.0, 200.0])
    assert set(passes) == {str(found[: count + 1]) for count in range(5)}


def test_results_are_taken_by_few_passes(lab: Lab) -> None:
    """Ends that come one by one do not call the function again for each: it is called for those of a second and more."""
    run = takes_plainly.delay([float(seconds) for seconds in range(2, 62, 2)])
    lab.work()
    assert len(run.result()) == 30
    assert lab.get(run.action).status.resumes < 15


def test_a_suspended_function_says_that_it_waits_for_the_next(lab: Lab) -> None:
    """In its record."""
    run = takes_plainly.delay([1.0, 86_400.0])
    lab.work(limit=timedelta(hours=1))
    record = lab.get(run.action)
    assert record.attempt.suspended
    assert "waits for the next of nap-" in record.status.phase_history[-1].message


def test_an_error_is_raised_when_its_turn_comes(lab: Lab) -> None:
    """Or given, if asked for: then also for calls that were never made."""
    run, errors = stops_at_an_error.delay(9), takes_errors.delay(4)
    lab.work()
    assert run.result() == ["0", "10", "2 is broken"]
    assert errors.result() == ["int", "int", "ActionFailed", "ActionFailed"]


def test_a_single_call_is_no_map(lab: Lab) -> None:
    """Inside a task and outside."""
    run = takes_one.delay()
    lab.work()
    with pytest.raises(ActionFailed, match="no map"):
        run.result()
    with pytest.raises(InvalidSpec, match="no map"):
        run.as_completed()


@pytest.mark.parametrize("concurrency", [None, 2])
def test_results_are_taken_as_they_come_outside_of_a_task(lab: Lab, concurrency: int | None) -> None:
    """By `for`, `async for`, and a handle of another process; with the places of their items if asked for."""
    run = nap.map([9.0, 3.0, 6.0], concurrency=concurrency)
    with pytest.raises(ResultTimeout, match="it goes on"):
        next(run.as_completed(timeout=0.01))
    lab.work()

    async def followed() -> list[float]:
        return [each async for each in run.aio.as_completed()]

    expected = [3.0, 6.0, 9.0] if concurrency is None else [3.0, 9.0, 6.0]
    assert list(run.as_completed()) == asyncio.run(followed()) == expected
    places = {9.0: 0, 3.0: 1, 6.0: 2}
    again = lab.client.run(str(run.id), nap)
    assert list(again.as_completed(indexed=True)) == [(places[each], each) for each in expected]


def test_errors_outside_of_a_task(lab: Lab) -> None:
    """Raised when their turn comes, or given; what was never started has the error of the map."""
    run = thumbnail.map(range(4), concurrency=1, broken=1)
    lab.work()
    coming = run.as_completed()
    assert next(coming) == 0
    with pytest.raises(ActionFailed, match="1 is broken"):
        next(coming)
    kinds = [type(each).__name__ for each in run.as_completed(return_exceptions=True)]
    assert kinds == ["int", "ActionFailed", "ActionFailed", "ActionFailed"]


def test_results_of_a_recovered_map_come_too(lab: Lab) -> None:
    """Those that were taken over first."""
    run = thumbnail.map([0, 5, 2], concurrency=1, return_exceptions=True, broken=5)
    lab.work()
    again = run.recover()
    lab.work()
    assert sorted(index for index, _ in again.as_completed(indexed=True, return_exceptions=True)) == [0, 1, 2]


@env.task()
def takes_in_time(keys: int) -> list[str]:
    """Take results for a while."""
    return list(thumbnail.map(range(keys), concurrency=1).as_completed(timeout=3))


def test_a_time_limit_on_results_is_refused_inside_a_task(lab: Lab) -> None:
    """Each pass would see others before it."""
    run = takes_in_time.delay(2)
    lab.work()
    with pytest.raises(ActionFailed, match="takes no timeout"):
        run.result()

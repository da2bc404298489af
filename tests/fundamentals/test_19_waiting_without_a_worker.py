"""Waiting without a worker: for whatever ends first, for many, and for runs that are no children."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from reconciler import TaskEnvironment, current_attempt, sleep
from reconciler.api.errors import ActionFailed
from reconciler.testing import Lab

env = TaskEnvironment("manual19")
calls: list[str] = []
seen: list[str] = []


@env.task()
def double(number: int) -> int:
    """Count how often it was called."""
    calls.append(f"double {number}")
    return 2 * number


@env.task()
def waits_for_a_run() -> int:
    """Wait for what is no child."""
    return double.submit((5,), detached=True).result()


@env.task()
def naps(hours: int) -> int:
    """Sleep."""
    sleep(timedelta(hours=hours))
    return hours


@env.task()
def same(number: int) -> int:
    """Return what it gets."""
    return number


@env.task()
async def waits_for_some_of_many(count: int) -> int:
    """Leave as many open as it waits for."""
    for hours in range(count):
        naps.delay(1000 + hours)
    return sum(await asyncio.gather(*(same.delay(number) for number in range(count))))


@env.task()
async def sleepy(seconds: float) -> float:
    """Take so long."""
    await sleep(seconds)
    return seconds


@env.task()
async def race() -> list[float]:
    """Go on with whatever ends first, and wait again."""
    runs = [asyncio.ensure_future(sleepy.delay(seconds)) for seconds in (50.0, 5.0)]
    done, _ = await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
    first = next(run.result() for run in runs if run in done)
    seen.append(str(first))
    await sleep(100)
    return [first, await sleepy.delay(first)]


@env.task()
async def in_order() -> list[float]:
    """Take results as they come."""
    found = []
    for one in asyncio.as_completed([sleepy.delay(seconds) for seconds in (9.0, 3.0, 6.0)]):
        found.append(await one)
        seen.append(str(found))
    return found


@env.task()
def waits_in_a_thread() -> list[int]:
    """Let a thread wait for a child."""
    with ThreadPoolExecutor(1) as pool:
        return [pool.submit(double.delay(1).result).result()]


def count() -> int:
    """Say how often it was called."""
    calls.append("count")
    return calls.count("count")


@env.task()
def cleans_up() -> int:
    """Note what runs when it is suspended."""
    try:
        return double.delay(1).result()
    finally:
        attempt = current_attempt()
        assert attempt is not None
        seen.append(attempt.launch)


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client
    calls.clear()
    seen.clear()


@pytest.mark.rule("R88")
def test_a_detached_run_can_be_waited_for(lab: Lab) -> None:
    """Its end wakes nobody in another run, so it is looked for."""
    run = waits_for_a_run.delay()
    lab.work()
    assert run.result() == 10
    assert calls == ["double 5"]


@pytest.mark.rule("R88")
def test_many_are_seen_to_have_ended_beside_others_that_stay_open(lab: Lab) -> None:
    """More are waited for than a suspended launch names; as many others go on: the function is called again all the same."""
    run = waits_for_some_of_many.delay(70)
    lab.work(limit=timedelta(hours=1))
    assert run.result() == sum(range(70))


@pytest.mark.rule("R86")
def test_who_was_first_stays_first(lab: Lab) -> None:
    """In a later pass all have ended, and yet they are told of in the order in which they ended."""
    run = race.delay()
    lab.work()
    assert run.result() == [5.0, 5.0]
    assert set(seen) == {"5.0"}
    assert len(list(lab.client.actions(run.id, parent="a0"))) == 3


def test_results_come_in_the_order_of_their_ends(lab: Lab) -> None:
    """The same in each pass."""
    run = in_order.delay()
    lab.work()
    assert run.result() == [3.0, 6.0, 9.0]
    assert set(seen) == {"[3.0]", "[3.0, 6.0]", "[3.0, 6.0, 9.0]"}


def test_a_lab_says_that_no_thread_can_wait(lab: Lab) -> None:
    """It would wait for ever: a lab runs one thing at a time."""
    run = waits_in_a_thread.delay()
    lab.work()
    with pytest.raises(ActionFailed, match="one thing at a time"):
        run.result()


@pytest.mark.rule("R87")
def test_finally_runs_when_a_function_is_suspended(lab: Lab) -> None:
    """Each pass cleans up behind itself."""
    run = cleans_up.delay()
    lab.work()
    assert run.result() == 2
    assert len(seen) == 2

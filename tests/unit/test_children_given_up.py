"""Waits that a time limit or a cancellation ends: each later pass of a function sees what the one before it saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from msgspec.structs import replace

from reconciler import TaskEnvironment, sleep, step
from reconciler.api.errors import ActionAborted, ActionFailed
from reconciler.api.phase import ActionPhase
from reconciler.api.template import RetryStrategy, TaskMetadata
from reconciler.testing import Lab, check_replay

env = TaskEnvironment("limits")
seen: list[object] = []
LIMIT = 0.05


@env.task()
def double(number: int) -> int:
    """Double."""
    return 2 * number


@env.task()
def naps(number: int = 0) -> int:
    """Sleep for long."""
    sleep(1_000_000)
    return number


@env.task()
def breaks() -> int:
    """Raise."""
    raise ValueError("bad")


@env.task()
async def limited(what: str) -> str:
    """Wait for something with a time limit, then do something that suspends."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(None if what in UNLIMITED else LIMIT):
            told = await WAITS[what]()
    except TimeoutError:
        told = "late"
    seen.append(told)
    await double.delay(3)
    await sleep(60)
    seen.append(time.monotonic() - began)
    return str(told)


async def results_of_a_map() -> str:
    """Take results as they come."""
    return str([each async for each in naps.map([1, 2], concurrency=1).as_completed()])


async def waited_for() -> object:
    """Wait as `wait_for` does."""
    return await asyncio.wait_for(naps.delay(), LIMIT / 2)


async def raised() -> str:
    """Wait for what never ends, beside what fails: the group cancels it."""
    cancelled = "not cancelled"

    async def patient() -> None:
        nonlocal cancelled
        try:
            await naps.delay()
        except asyncio.CancelledError:
            cancelled = "cancelled"
            raise

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(patient())
            group.create_task(awaited(breaks.delay()))
    except* ActionFailed:
        pass
    return cancelled


async def awaited(run: object) -> object:
    """Await a run."""
    return await run  # type: ignore[misc]  # what delay gives


async def first_of_two() -> str:
    """Wait for the first, and cancel the other one."""
    tasks = {
        name: asyncio.create_task(awaited(run))
        for name, run in {"short": double.delay(1), "long": naps.delay()}.items()
    }
    await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
    tasks["long"].cancel()
    found = await tasks["short"]
    with suppress(asyncio.CancelledError):
        await tasks["long"]
    return f"{found} {tasks['long'].cancelled()}"


async def step_without_end() -> object:
    """Compute something that takes longer the first time."""
    seen.append("step")
    return await step("long", asyncio.sleep, LIMIT * 2 if seen.count("step") < 3 else 0)


WAITS: dict[str, Callable[[], object]] = {
    "a child": lambda: awaited(naps.delay()),
    "a map": lambda: awaited(naps.map([1, 2], concurrency=1)),
    "a map of all at once": lambda: awaited(naps.map([1, 2])),
    "results": results_of_a_map,
    "a shorter limit": waited_for,
    "a group": raised,
    "the first of two": first_of_two,
    "a sleep": lambda: sleep(30),
    "a step": step_without_end,
}


UNLIMITED = {"a group", "the first of two"}


@pytest.fixture
def lab() -> Lab:
    """An installation whose tasks are those above."""
    lab = Lab()
    env.client = lab.client
    seen.clear()
    return lab


@pytest.mark.rule("R89")
@pytest.mark.parametrize("what", WAITS)
def test_a_wait_that_was_given_up_is_given_up_in_each_pass(lab: Lab, what: str) -> None:
    """However it was cancelled, and although what was waited for has ended meanwhile."""
    run = limited.delay(what)
    lab.work()
    told = [each for each in seen if isinstance(each, str) and each != "step"]
    assert len(told) >= 3
    assert len(set(told)) == 1
    assert run.result() == told[0]


@pytest.mark.rule("R89")
@pytest.mark.parametrize("what", ["a child", "a map", "a map of all at once", "results"])
def test_who_gives_a_wait_up_aborts_what_was_waited_for(lab: Lab, what: str) -> None:
    """Whether one result was awaited or results as they come; their actions end before the function does."""
    run = limited.delay(what)
    lab.work(timedelta(seconds=30))
    assert run.phase is ActionPhase.RUNNING
    others = [
        a for a in lab.client.actions(run.id) if a.spec.short_name != "limits.double" and a.id.action != "a0"
    ]
    assert {a.phase for a in others} == {ActionPhase.ABORTED}
    deletion = others[0].metadata.deletion
    assert deletion is not None
    assert "cancelled the wait for it" in deletion.reason


@env.task()
async def takes_one() -> str:
    """Leave a loop over results, then wait for the map all the same."""
    run = double.map([1, 2, 3], concurrency=1)
    async for each in run.as_completed():
        found = each
        break
    await sleep(60)
    return f"{found} {list(await run)}"


def test_who_leaves_a_loop_over_results_aborts_nothing(lab: Lab) -> None:
    """`break` is no cancellation: the map goes on."""
    run = takes_one.delay()
    lab.work()
    assert run.result() == "2 [2, 4, 6]"


@env.task()
async def in_the_middle(count: int) -> list[object]:
    """Take some results, and give the others up."""
    found: list[object] = []
    run = double.map(range(count), concurrency=2)
    coming = run.as_completed()
    found += [await anext(coming), await anext(coming)]
    third = asyncio.create_task(awaited(anext(coming)))
    await asyncio.sleep(0)
    third.cancel()
    with suppress(asyncio.CancelledError):
        found.append(await third)
    await sleep(3600)
    return found


def test_results_that_were_not_waited_for_are_not_given_in_a_later_pass() -> None:
    """Although they have come since."""
    assert check_replay(in_the_middle, 6).result == [0, 2]


@env.task()
def plain(limit: float, turns: int) -> list[str]:
    """Wait several times with a limit, each time doing something meanwhile; then as long as it takes."""
    run = slow.delay()
    told = []
    for _ in range(turns):
        try:
            told.append(str(run.result(timeout=limit)))
        except TimeoutError as error:
            told.append(type(error).__name__)
    sleep(3600)
    seen.append(tuple(told))
    return [*told, str(run.result()), str(run.result(timeout=limit))]


@env.task()
def slow() -> int:
    """Sleep for a minute."""
    sleep(60)
    return 7


@pytest.mark.rule("R89")
@pytest.mark.parametrize("limit", [0, 0.01, 5])
def test_a_limit_of_a_plain_wait_is_over_in_each_pass(lab: Lab, limit: float) -> None:
    """Each wait by its turn; what was waited for goes on, and is waited for again."""
    run = plain.delay(limit, 3)
    lab.work()
    assert run.result() == [*["ResultTimeout"] * 3, "7", "7"]
    assert len(set(seen)) == 1


@env.task(retries=1)
async def tries_again() -> str:
    """Give a wait up in the first attempt, and fail."""
    seen.append("attempt")
    if len(seen) == 1:
        run = double.delay(4)
        task = asyncio.create_task(awaited(run))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        raise ValueError("again")
    return str(await double.delay(4))


def test_a_new_attempt_waits_anew(lab: Lab) -> None:
    """What one attempt has given up is asked for anew by the next."""
    run = tries_again.delay()
    lab.work()
    assert run.result() == "8"


@env.task()
async def changes_its_mind() -> str:
    """Give a wait up in the first pass only, as code does that decides by what does not replay."""
    seen.append("pass")
    task = asyncio.create_task(awaited(naps.delay()))
    await asyncio.sleep(0)
    if len(seen) == 1:
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        await sleep(60)
    except ActionAborted as error:
        return type(error).__name__
    return "cancelled"


def test_a_wait_that_nobody_gives_up_any_more_ends(lab: Lab) -> None:
    """A function that does not do the same again is told how the child ended, instead of waiting for ever."""
    run = changes_its_mind.delay()
    lab.work()
    assert run.result() == "ActionAborted"


LATER = 30.0
"""A limit of later passes, s: whoever waits for it again is slower than any busy machine."""


@env.task()
async def limited_for_long() -> str:
    """Wait twice with a limit, one inside the other one's time, beside a beat of its own."""
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(limit / 50)
            beats += 1

    limit = LATER if any(isinstance(each, tuple) for each in seen) else LIMIT * 10
    began, told = time.monotonic(), []
    beating = asyncio.create_task(beat())
    for number in range(2):
        try:
            async with asyncio.timeout(limit):
                await naps.delay(number)
        except TimeoutError:
            told.append(number)
    beating.cancel()
    seen.append((time.monotonic() - began, beats))
    await sleep(60)
    loop = asyncio.get_running_loop()
    assert "time" in vars(loop) or len(seen) == 1
    return str(told)


def test_no_pass_waits_again_for_a_limit_that_is_over(lab: Lab) -> None:
    """The clock of its event loop runs ahead, its own timers with it."""
    run = limited_for_long.delay()
    lab.work()
    assert run.result() == "[0, 1]"
    (first, _), *later = [each for each in seen if isinstance(each, tuple)]
    assert first >= LIMIT * 20
    assert later
    assert all(took < LATER and 50 < beats <= 101 for took, beats in later), later


@env.task()
async def told_in_order() -> list[str]:
    """Give up a wait before something else has ended."""
    found: list[str] = []

    async def patient() -> None:
        try:
            async with asyncio.timeout(LIMIT):
                await naps.delay()
        except TimeoutError:
            found.append("late")

    async def other() -> None:
        await slow.delay()
        found.append("ended")

    await asyncio.gather(patient(), other())
    await sleep(3600)
    return found


def test_what_ended_after_a_limit_is_told_after_it(lab: Lab) -> None:
    """Although in a later pass it has ended before the function begins."""
    run = told_in_order.delay()
    lab.work()
    assert run.result() == ["late", "ended"]


@env.task()
def starts_a_run() -> str:
    """Start a run of its own, of a newer version of the code in each pass."""
    seen.append("pass")
    double.template = replace(
        double.template, metadata=TaskMetadata(retries=RetryStrategy(retries=len(seen)))
    )
    double._encoded.clear()  # as in a process that was started with the newer code
    started = str(double.submit((5,), detached=True).id)
    sleep(60)
    return started


@pytest.mark.rule("R86")
def test_a_run_of_its_own_is_one_whatever_version_of_its_code_was_deployed(lab: Lab) -> None:
    """As a child is: the pass after a deployment finds what the one before it has started."""
    before = double.template
    try:
        run = starts_a_run.delay()
        lab.work()
        started = run.result()
    finally:
        double.template = before
        double._encoded.clear()  # as above
    assert len(seen) >= 2
    assert [str(one.id) for one in lab.client.runs() if one.id != run.id] == [started]

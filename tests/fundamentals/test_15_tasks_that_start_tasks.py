"""Tasks that start tasks: children, values computed once, waiting without a worker."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from reconciler import TaskEnvironment, ask, current_attempt, sleep, step
from reconciler.api.errors import ActionAborted, ActionFailed, InvalidSpec, NonRetryableError, OutsideOfTask
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual15")
calls: list[str] = []
seen: list[str] = []


@env.task()
def double(number: int) -> int:
    """Count how often it was called."""
    calls.append(f"double {number}")
    return 2 * number


@env.task()
def fails(times: int) -> int:
    """Fail the first so many times it is called at all."""
    calls.append("fails")
    if calls.count("fails") <= times:
        raise ValueError("not yet")
    return 1


@env.task()
def total(numbers: list[int]) -> int:
    """Start one child for each number, and add what they return."""
    runs = [double.delay(number) for number in numbers]
    return sum(run.result() for run in runs)


@env.task()
async def album(day: str) -> str:
    """Compose: a child, a map, a value, a sleep, a person."""
    first = await double.delay(21)
    rest = await double.map([1, 2, 3])
    token = await step("token", make_token, day)
    await sleep(timedelta(hours=6))
    said = "yes" if await ask("publish", bool, prompt=f"{len(rest)} pictures?") else "no"
    return f"{first} {rest} {token} {said}"


def make_token(day: str) -> str:
    """Compute what must not be computed twice."""
    calls.append("token")
    return f"token of {day}"


@env.task()
async def gathers() -> list[int]:
    """Wait for many at once."""
    return list(await asyncio.gather(*(double.delay(number) for number in range(4))))


@env.task(retries=1)
def retried() -> int:
    """Fail once, with a child that failed."""
    return double.delay(1).result() + fails.delay(1).result()


@env.task()
def asks_again() -> list[str]:
    """Catch what a child raised."""
    try:
        fails.delay(99).result()
    except ActionFailed as error:
        return [error.code, error.message]
    return []


@env.task()
def starts_a_run() -> str:
    """Start what shall outlive it."""
    return str(double.submit((5,), detached=True).id)


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


@env.task()
def two_steps() -> list[int]:
    """Keep two values under one name."""
    return [step("number", count), step("number", count)]


def count() -> int:
    """Say how often it was called."""
    calls.append("count")
    return calls.count("count")


@env.task()
async def at_once() -> object:
    """Start two steps of one name at a time."""

    async def slow() -> int:
        await asyncio.sleep(0.001)
        return 1

    return await asyncio.gather(step("same", slow), step("same", slow))


@env.task()
def keeps_what_cannot_be_kept() -> object:
    """Keep a value without a JSON form."""
    return step("object", object)


@env.task()
def cleans_up() -> int:
    """Note what runs when it is suspended."""
    try:
        return double.delay(1).result()
    finally:
        attempt = current_attempt()
        assert attempt is not None
        seen.append(attempt.launch)


@env.task()
def declined() -> str:
    """Wait for a person who does not answer in time."""
    ask("go on", str, timeout=timedelta(hours=1))
    raise NonRetryableError("nobody would get here")


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client
    calls.clear()
    seen.clear()


@pytest.mark.rule("R86", "R87")
def test_a_task_starts_tasks(lab: Lab) -> None:
    """They are children of its action, in its run; each runs once, however often their parent is called."""
    run = total.delay([1, 2, 3])
    lab.work()
    assert run.result() == 12
    assert sorted(calls) == ["double 1", "double 2", "double 3"]
    children = [action for action in lab.client.actions(run.id) if action.spec.parent_action_name == "a0"]
    assert len(children) == 3
    assert lab.get(run.action).status.resumes > 0
    assert lab.get(run.action).status.total_system_failures == 0


@pytest.mark.rule("R89")
def test_everything_together_computes_each_thing_once(lab: Lab) -> None:
    """A child, a map, a kept value, six hours of sleep and a person: each pass goes on where the last one stood."""
    began = lab.clock()
    run = album.delay("monday")
    lab.work()
    record = lab.get(run.action)
    assert record.phase is ActionPhase.RUNNING
    assert record.attempt.suspended
    question = next(a for a in lab.client.actions(run.id) if a.phase is ActionPhase.PAUSED)
    assert lab.clock() - began >= timedelta(hours=6).total_seconds() * 1000
    lab.client.signal(question.id, value=True)
    lab.work()
    assert run.result() == "42 [2, 4, 6] token of monday yes"
    assert sorted(calls) == ["double 1", "double 2", "double 21", "double 3", "token"]


def test_many_are_awaited_at_once(lab: Lab) -> None:
    """`asyncio.gather` starts all of them before it waits for the first."""
    run = gathers.delay()
    lab.work()
    assert run.result() == [0, 2, 4, 6]
    assert len(calls) == 4


@pytest.mark.rule("R86")
def test_a_new_attempt_starts_anew_what_failed(lab: Lab) -> None:
    """What has succeeded answers at once; what has failed runs again, under a name of the new attempt."""
    run = retried.delay()
    lab.work()
    assert run.result() == 3
    assert sorted(calls) == ["double 1", "fails", "fails"]
    names = [a.id.action for a in lab.client.actions(run.id, parent="a0") if "fails" in a.id.action]
    assert len(names) == 2
    assert names[1].endswith("-2")


def test_the_error_of_a_child_is_raised_in_its_parent(lab: Lab) -> None:
    """With code and message; who does not catch it fails by it."""
    run = asks_again.delay()
    lab.work()
    assert run.result() == ["ValueError", "not yet"]


def test_a_detached_run_outlives_its_parent(lab: Lab) -> None:
    """It is a run of its own, started once."""
    run = starts_a_run.delay()
    lab.work()
    other = run.result()
    assert other != str(run.id)
    assert calls == ["double 5"]


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


@pytest.mark.rule("R89")
def test_steps_of_one_name_are_told_apart_by_their_order(lab: Lab) -> None:
    """The second call of a name gets the second value."""
    run = two_steps.delay()
    lab.work()
    assert run.result() == [1, 2]


def test_two_steps_of_one_name_at_once_are_refused(lab: Lab) -> None:
    """Nothing would tell one from the other in the next pass."""
    run = at_once.delay()
    lab.work()
    with pytest.raises(ActionFailed, match="give each a key"):
        run.result()


def test_a_value_that_cannot_be_kept_is_an_error_at_the_step(lab: Lab) -> None:
    """Not later, when somebody needs it."""
    run = keeps_what_cannot_be_kept.delay()
    lab.work()
    with pytest.raises(ActionFailed, match="object"):
        run.result()


@pytest.mark.rule("R87")
def test_finally_runs_when_a_function_is_suspended(lab: Lab) -> None:
    """Each pass cleans up behind itself."""
    run = cleans_up.delay()
    lab.work()
    assert run.result() == 2
    assert len(seen) == 2


def test_nobody_answers_in_time(lab: Lab) -> None:
    """The question times out, and its parent is told."""
    run = declined.delay()
    lab.work()
    with pytest.raises(ActionFailed, match="ActionTimedOut"):
        run.result()


def test_an_abort_takes_children_along(lab: Lab) -> None:
    """A suspended parent and all below it end; no message of a child comes back to life."""
    run = album.delay("monday")
    lab.work()
    run.abort()
    lab.work()
    with pytest.raises(ActionAborted):
        run.result()
    assert {a.phase for a in lab.client.actions(run.id)} <= {ActionPhase.ABORTED, ActionPhase.SUCCEEDED}
    assert all(a.phase.is_terminal() for a in lab.client.actions(run.id))


def test_outside_of_a_task_there_is_nothing_to_keep(lab: Lab) -> None:
    """`step`, `sleep` and `ask` say where they work."""
    del lab
    with pytest.raises(OutsideOfTask, match="inside a task"):
        step("x", count)
    with pytest.raises(OutsideOfTask):
        sleep(1)
    with pytest.raises(OutsideOfTask):
        ask("x", bool)


def test_a_child_has_no_name_of_its_own(lab: Lab) -> None:
    """A run name or a key inside a task belongs to a run of its own."""
    run = names_a_child.delay()
    lab.work()
    with pytest.raises(ActionFailed, match="detached=True"):
        run.result()


@env.task()
def names_a_child() -> int:
    """Give a child a name."""
    with pytest.raises(InvalidSpec):
        double.submit((1,), idempotency_key="k")
    return double.submit((1,), run="mine").result()

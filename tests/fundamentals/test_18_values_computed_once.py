"""Values computed once, sleeps and questions: each pass of a function goes on where the last one stood."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from reconciler import Task, TaskEnvironment, ask, sleep, step
from reconciler.api.errors import ActionFailed, NonRetryableError, OutsideOfTask
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual18")
calls: list[str] = []
seen: list[str] = []


@env.task()
def double(number: int) -> int:
    """Count how often it was called."""
    calls.append(f"double {number}")
    return 2 * number


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


def no_json() -> object:
    """Return what has no JSON form."""
    calls.append("made")
    return object()


def no_hint() -> complex:
    """Return what no hint can carry."""
    calls.append("made")
    return 1j


def much() -> str:
    """Return more than an object may have."""
    calls.append("made")
    return "x" * 3_000


@env.task(retries=2)
def keeps_what_cannot_be_kept(what: str) -> object:
    """Keep a value that cannot be kept."""
    return step("mine", {"no JSON form": no_json, "too large": much, "hint": no_hint}[what])


@env.task(retries=2)
async def keeps_it_in_a_loop(what: str) -> object:
    """Do the same in an event loop."""
    return await step("mine", {"no JSON form": no_json, "too large": much, "hint": no_hint}[what])


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


@pytest.mark.rule("R89")
@pytest.mark.parametrize(
    ("what", "says"),
    [("no JSON form", "values of type object"), ("too large", "3009 bytes, 2000 are allowed")],
)
@pytest.mark.parametrize("task", [keeps_what_cannot_be_kept, keeps_it_in_a_loop], ids=["plain", "in a loop"])
def test_a_value_that_cannot_be_kept_is_an_error_at_the_step(
    task: Task[[str], object], what: str, says: str
) -> None:
    """Not later, when somebody needs it; and no retry calls the function of the step once more."""
    lab = Lab(max_object_size=2_000)
    env.client = lab.client
    run = task.delay(what)
    lab.work()
    with pytest.raises(ActionFailed, match=f"the value of the step 'mine' cannot be kept: .*{says}"):
        run.result()
    assert calls == ["made"]


@pytest.mark.parametrize("task", [keeps_what_cannot_be_kept, keeps_it_in_a_loop], ids=["plain", "in a loop"])
def test_a_hint_that_cannot_be_used_is_told_before_the_function_is_called(
    lab: Lab, task: Task[[str], object]
) -> None:
    """What it does would be lost."""
    run = task.delay("hint")
    lab.work()
    with pytest.raises(ActionFailed, match="values of type complex have no JSON form"):
        run.result()
    assert calls == []


def test_nobody_answers_in_time(lab: Lab) -> None:
    """The question times out, and its parent is told."""
    run = declined.delay()
    lab.work()
    with pytest.raises(ActionFailed, match="ActionTimedOut"):
        run.result()


def test_outside_of_a_task_there_is_nothing_to_keep(lab: Lab) -> None:
    """`step`, `sleep` and `ask` say where they work."""
    del lab
    with pytest.raises(OutsideOfTask, match="inside a task"):
        step("x", count)
    with pytest.raises(OutsideOfTask):
        sleep(1)
    with pytest.raises(OutsideOfTask):
        ask("x", bool)

"""Tasks that start tasks: children, their errors, and their end."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from reconciler import TaskEnvironment, ask, sleep, step
from reconciler.api.errors import ActionAborted, ActionFailed, InvalidSpec
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual17")
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

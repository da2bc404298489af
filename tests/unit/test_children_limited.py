"""Functions that start others in a queue with a limit: what is refused says so, and nobody waits for it for ever."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler import TaskEnvironment
from reconciler.api.errors import ActionFailed, InvalidSpec, QueueFull
from reconciler.api.phase import ActionPhase
from reconciler.children import starting
from reconciler.testing import Lab

env = TaskEnvironment("limited")


@env.task(queue="small")
def double(number: int) -> int:
    """Double."""
    return 2 * number


@env.task()
async def maps(count: int) -> list[int]:
    """Let many be doubled."""
    return list(await double.map(range(count)))


@env.task()
def patient(count: int) -> list[int]:
    """Let few be doubled where there is no room for many."""
    try:
        return list(double.map(range(count)).result())
    except QueueFull:
        return list(double.map(range(2)).result())


@env.task()
def singles(count: int) -> int:
    """Start so many one by one, and wait for the last."""
    return [double.delay(number) for number in range(count)][-1].result()


@env.task()
def one_by_one(count: int) -> list[int]:
    """Start each when the one before has ended."""
    return [double.delay(number).result() for number in range(count)]


@pytest.fixture
def lab() -> Lab:
    """An empty installation."""
    return Lab()


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client
    lab.client.limit_queue("small", 3)


def test_a_map_that_does_not_fit_is_refused_as_a_whole(lab: Lab) -> None:
    """The function hears of it where it waits, and none of its calls is stored."""
    run = maps.delay(4)
    lab.work()
    with pytest.raises(ActionFailed, match="QueueFull"):
        run.result(timeout=0)
    assert run.counts.total == 1
    fits = maps.delay(3)
    lab.work()
    assert fits.result(timeout=0) == [0, 2, 4]


def test_who_catches_it_goes_on(lab: Lab) -> None:
    """It costs the function nothing else."""
    run = patient.delay(700)
    lab.work()
    assert run.result(timeout=0) == [0, 2]


def test_each_call_is_a_submission_of_its_own(lab: Lab) -> None:
    """As many as there is room for are started, however they were sent."""
    run = singles.delay(5)
    lab.work()
    with pytest.raises(ActionFailed, match="QueueFull"):
        run.result(timeout=0)
    assert run.counts.total == 1 + 3


def test_what_has_ended_takes_no_room(lab: Lab) -> None:
    """However many a function has started within a moment."""
    run = one_by_one.delay(10)
    lab.work()
    assert run.result(timeout=0) == [2 * number for number in range(10)]


def test_a_refused_member_ends_the_wait_for_its_map(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it was refused for: a group waits for a member that is missing, and nobody would store it."""

    def refusing(*_: Any, **__: Any) -> Any:
        return [InvalidSpec("this one not")]

    monkeypatch.setattr(starting.Starting, "members", refusing)
    run = maps.delay(2)
    lab.work()
    assert run.phase is ActionPhase.FAILED
    with pytest.raises(ActionFailed, match="this one not"):
        run.result(timeout=0)

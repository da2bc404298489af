"""A function that starts over: other arguments, nothing of what it has asked for, the same action."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from reconciler import TaskEnvironment, continue_as_new, sleep, step
from reconciler.api.errors import ActionFailed, OutsideOfTask
from reconciler.api.phase import ActionPhase
from reconciler.children import parent
from reconciler.testing import Lab

env = TaskEnvironment("over")
calls: list[str] = []


@env.task()
def add(left: int, right: int) -> int:
    """Note the call."""
    calls.append(f"{left}+{right}")
    return left + right


def drawn() -> int:
    """Draw a number that differs each time."""
    calls.append("draw")
    return calls.count("draw")


@env.task(retries=1)
def counts(turns: int, total: int = 0, *, fail: bool = False, pad: str = "") -> list[object]:
    """Ask for the same things in each turn, and start over with what came of them."""
    try:
        number = step("number", drawn)
        if fail and turns == 1 and calls.count("failed") == 0:
            calls.append("failed")
            raise ValueError("once")
        total = add.delay(total, 1).result()
        sleep(60)
        if turns > 1:
            continue_as_new(turns - 1, total, fail=fail, pad=pad)
    finally:
        calls.append("cleaned")
    return [total, number, len(pad)]


@env.task()
async def counts_in_a_loop(turns: int, total: int = 0) -> int:
    """Do it in an event loop."""
    total = await add.delay(total, 1)
    if turns > 1:
        continue_as_new(turns - 1, total)
    return total


@env.task()
def leaves_open(turns: int) -> int:
    """Start over with a child that nobody waits for."""
    naps.delay()
    if turns:
        continue_as_new(turns - 1)
    return add.delay(1, 1).result()


@env.task()
def naps() -> None:
    """Sleep for long."""
    sleep(1_000_000)


@env.task()
def misfits() -> None:
    """Start over with what does not fit."""
    continue_as_new("too", "many")


@env.task()
def asks_for_ever(turns: int) -> int:
    """Ask for one thing after the other."""
    return sum(step("one", int) for _ in range(turns))


@env.task()
def swallows(how: str) -> int:
    """Start over, and do not let that pass."""
    calls.append(how)
    if how == "returns":
        with suppress(BaseException):
            continue_as_new("again")
    if how == "finally":
        try:
            continue_as_new("again")
        finally:
            raise ValueError("on the way out")
    if how == "thread":
        with ThreadPoolExecutor() as pool:
            pool.submit(continue_as_new, "again").result()
    return 99


@env.task()
async def in_a_group(turns: int) -> int:
    """Start over in a task of a group."""

    async def over() -> None:
        continue_as_new(turns - 1)

    if turns:
        async with asyncio.TaskGroup() as group:
            group.create_task(over())
            group.create_task(asyncio.sleep(60))
    return turns


@env.task()
async def swallows_in_a_loop() -> int:
    """Start over in a task whose error nobody looks at."""

    async def over() -> None:
        continue_as_new()

    await asyncio.gather(over(), return_exceptions=True)
    return 99


@pytest.fixture
def lab() -> Lab:
    """An installation whose tasks are those above."""
    lab = Lab()
    env.client = lab.client
    calls.clear()
    return lab


@pytest.mark.rule("R89")
@pytest.mark.parametrize("pad", ["", "x" * 10_000])
def test_it_starts_over_with_other_arguments(lab: Lab, pad: str) -> None:
    """Children and values are new ones each time, the handle stays; arguments may be large."""
    run = counts.delay(3, pad=pad)
    lab.work()
    assert run.result() == [3, 3, len(pad)]
    assert [call for call in calls if call not in {"draw", "cleaned"}] == ["0+1", "1+1", "2+1"]
    record = lab.get(run.action)
    assert record.status.start_over is not None
    assert record.status.start_over.number == 2
    assert record.status.attempts == 1
    assert record.status.total_system_failures == 0
    assert record.status.unasked == ()
    assert set(lab.store.steps(run.action)) == {"2/", "2/step/number/0", "2/sleep/0"}


@pytest.mark.rule("R89")
def test_an_event_loop_starts_over_too(lab: Lab) -> None:
    """The same in an `async def`."""
    run = counts_in_a_loop.delay(4)
    lab.work()
    assert run.result() == 4


@pytest.mark.rule("R89")
def test_a_retry_goes_on_from_the_newest_arguments(lab: Lab) -> None:
    """What was done before it started over is not done again; the value it has kept since stays."""
    run = counts.delay(2, fail=True)
    lab.work()
    assert run.result() == [2, 2, 0]
    assert [call for call in calls if "+" in call] == ["0+1", "1+1"]
    assert lab.get(run.action).status.attempts == 2


@pytest.mark.rule("R89")
def test_what_nobody_waits_for_ends_with_the_action(lab: Lab) -> None:
    """It goes on meanwhile, and is not said to be missing in the last pass."""
    run = leaves_open.delay(2)
    lab.work()
    assert run.result() == 2
    phases = [child.phase for child in lab.client.actions(run.id, parent="a0")]
    assert sorted(phases) == [ActionPhase.SUCCEEDED, *[ActionPhase.ABORTED] * 3]
    assert lab.get(run.action).status.unasked == ()


def test_arguments_that_do_not_fit_are_refused_where_it_starts_over(lab: Lab) -> None:
    """Not in a later call."""
    run = misfits.delay()
    lab.work()
    with pytest.raises(ActionFailed, match="too many positional"):
        run.result()


def test_it_starts_over_inside_a_task_alone(lab: Lab) -> None:
    """Outside there is nothing to start over."""
    del lab
    with pytest.raises(OutsideOfTask, match="continue_as_new works inside a task"):
        continue_as_new()


def test_a_history_that_is_too_long_names_the_remedy(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused where one pass asks for more than the next one may repeat."""
    monkeypatch.setattr(parent, "MOST", 50)
    run = asks_for_ever.delay(26)
    lab.work()
    with pytest.raises(ActionFailed, match="continue_as_new"):
        run.result()


SWALLOWED = {
    "returns": r"\[SuspensionSwallowed\] The function has called continue_as_new, and went on.*: let BaseException pass",
    "finally": r"\[ValueError\] on the way out",
    "thread": "which no other thread can: call it in the function itself",
}


@pytest.mark.rule("R89")
@pytest.mark.parametrize("how", SWALLOWED)
def test_who_starts_over_and_goes_on_is_told(lab: Lab, how: str) -> None:
    """What it returns or raises all the same is never dropped unsaid."""
    run = swallows.delay(how)
    lab.work()
    with pytest.raises(ActionFailed, match=SWALLOWED[how]):
        run.result()
    assert calls == [how]


@pytest.mark.rule("R89")
def test_a_group_of_tasks_lets_it_pass(lab: Lab) -> None:
    """A task group raises it with others; one that keeps it as a result does not."""
    run, other = in_a_group.delay(2), swallows_in_a_loop.delay()
    lab.work()
    assert run.result() == 0
    with pytest.raises(ActionFailed, match="let BaseException pass"):
        other.result()

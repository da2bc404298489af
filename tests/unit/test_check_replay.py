"""The checker of replays: it says what differs between the passes of a task, and leaves alone what is allowed to."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from reconciler import NonRetryableError, Task, TaskEnvironment, ask, continue_as_new, sleep, step
from reconciler.api.errors import ActionFailed, InvalidArguments
from reconciler.testing import NeverEnds, ReplayDiffers, check_replay, playing

env = TaskEnvironment("replays")
turns: list[int] = []


@env.task()
def double(number: int) -> int:
    """Double."""
    return 2 * number


def chance() -> int:
    """Give another number each time."""
    turns.append(1)
    return len(turns)


@env.task(retries=1)
async def good(numbers: list[int]) -> int:
    """Do all that is allowed, in any order."""
    mixed = random.sample(numbers, len(numbers))  # S311: the order is all that differs
    found = await asyncio.gather(*(double.delay(number) for number in mixed))
    number = await step("chance", chance)
    await sleep(timedelta(hours=1))
    if not await ask("publish", bool, prompt="now?"):
        raise NonRetryableError("declined")
    return sum(found) + sum(await double.map(numbers)) + 0 * number


@env.task()
def other_children() -> int:
    """Ask for a child by chance."""
    return double.delay(chance()).result()


@env.task()
def other_steps() -> int:
    """Keep a value under another name each time."""
    value = step(f"value {chance()}", int)
    sleep(5)
    return value


@env.task()
def other_result() -> int:
    """Return what differs."""
    double.delay(1).result()
    return chance()


@env.task()
def other_error() -> int:
    """Raise what differs."""
    raise ValueError(f"for the time {chance()}")


@env.task()
def fewer() -> int:
    """Ask for less in a later pass."""
    turns.append(1)
    if len(turns) <= 2:
        double.delay(1)
    return double.delay(2).result()


@env.task()
def other_questions() -> bool:
    """Ask a person something else each time."""
    return ask("go on", bool, prompt=f"for the time {chance()}?")


@env.task()
def other_start(number: int = 0) -> int:
    """Start over by chance."""
    sleep(1 + 0 * number)
    continue_as_new(chance())


@env.task()
def starts_over(left: int = 3) -> int:
    """Start over as often as it is told."""
    double.delay(7).result()
    if left:
        continue_as_new(left - 1)
    return left


@env.task()
def fails() -> int:
    """Fail the same way each time."""
    sleep(1)
    raise ValueError("always")


@env.task()
async def long_waits(days: int) -> tuple[str, int]:
    """Wait for a child that waits for long, and a person; then for a time."""
    late = asks_late.delay(days)
    now = await ask("now", int)
    await sleep(timedelta(days=days))
    return await late, now


@env.task()
def asks_late(days: int) -> str:
    """Ask a person after a long time."""
    sleep(timedelta(days=days))
    return ask("late", str)


@env.task()
def for_ever(seen: int = 0) -> int:
    """Start over without an end."""
    sleep(timedelta(minutes=10))
    continue_as_new(seen + 1)


@env.task()
def sleeps_for_ever() -> int:
    """Wait without an end."""
    while True:
        sleep(timedelta(hours=1))


@env.task()
def starts_one_for_ever() -> int:
    """Wait for a child that has no end."""
    return for_ever.delay().result()


@pytest.fixture(autouse=True)
def _begin_anew() -> None:
    turns.clear()


def test_what_is_allowed_passes() -> None:
    """The order of what is asked for may differ, a value of chance is kept by a step; questions are answered."""
    told = check_replay(good, [1, 2, 3])
    assert told.result == 24
    assert told.passes > 4


def test_answers_can_be_given() -> None:
    """By the name of the question."""
    with pytest.raises(ActionFailed, match="declined"):
        check_replay(good, [1], answers={"publish": False})


def test_a_task_may_start_over_and_may_fail() -> None:
    """A new history asks for the same things anew; a failure that is the same in each pass is what it is."""
    assert check_replay(starts_over, left=2).result == 0
    with pytest.raises(ActionFailed, match="always"):
        check_replay(fails)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (
            other_children,
            r'pass 1 asked for replays.double\({"number":1}\); called a second time, it did not',
        ),
        (other_steps, "asked for the step 'value 2/0'; the first time it did not"),
        (other_result, 'pass 2 returned {"o0":1}; called a second time, it returned {"o0":2}'),
        (other_error, r"pass 1 raised \[ValueError\] for the time 1; called a second time, it raised"),
        (fewer, r'did not ask for replays.double\({"number":1}\), which the pass before it has asked for'),
        (other_questions, "asked for the question 'go on'"),
        (other_start, "pass 2 started over with .*; called a second time, it started over with"),
    ],
)
def test_what_differs_is_said(task: Task[[], object], told: str) -> None:
    """With the pass, what it asked for, and what to do about it."""
    with pytest.raises(ReplayDiffers, match=told) as caught:
        check_replay(task)
    assert "inside a step" in str(caught.value)
    assert caught.value.differences


@pytest.mark.parametrize("days", [3, 400])
def test_long_waits_take_no_time(days: int) -> None:
    """A time of days is skipped, and a question that comes after it is answered."""
    told = check_replay(long_waits, days, answers={"late": "well", "now": 4})
    assert told.result == ("well", 4)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (for_ever, r"replays.for_ever \(a0\) was called 20 times .* it has started over 10 times"),
        (sleeps_for_ever, r"sleeps_for_ever \(a0\) was called 20 times .* each pass asks for more"),
        (starts_one_for_ever, r"replays.for_ever \(.+\) was called 20 times"),
    ],
)
def test_what_goes_on_for_ever_is_said(
    task: Task[[], object], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it does, and with what to do about it."""
    monkeypatch.setattr(playing, "MOST_PASSES", 20)
    with pytest.raises(NeverEnds, match=told) as caught:
        check_replay(task)
    assert "an argument that says when to end" in str(caught.value)


def test_what_is_no_task_is_refused() -> None:
    """With how to make one."""
    wrong: list[object] = [lambda: 1, good.function, 7]
    for one in wrong:
        with pytest.raises(InvalidArguments, match=r"wants a task .* @env.task of a TaskEnvironment"):
            check_replay(one)  # type: ignore[arg-type]  # as somebody might


def test_an_answer_to_what_was_never_asked_is_refused() -> None:
    """With the names that were asked; also when the task has failed, as it may have by the answer it was given."""
    with pytest.raises(
        InvalidArguments, match="answers has 'pubish', which was never asked; asked was 'publish'"
    ):
        check_replay(good, [1], answers={"pubish": True})
    with pytest.raises(InvalidArguments, match="asked was nothing"):
        check_replay(starts_over, 1, answers={"publish": True})
    with pytest.raises(ActionFailed, match="always"):
        check_replay(fails, answers={"publish": True})

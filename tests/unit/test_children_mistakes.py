"""Mistakes in what a function gives to the verbs of children: a sentence where they are made, and nothing is started."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from reconciler import TaskEnvironment, ask, sleep, step
from reconciler.api.errors import ActionFailed, InvalidInput
from reconciler.testing import Lab, check_replay

env = TaskEnvironment("mistakes")
Given = Callable[[], object]
UNFIT: Any = 42


@env.task()
def double(number: int) -> int:
    """Double."""
    return 2 * number


def one() -> int:
    """Return something."""
    return 1


def anything():  # noqa: ANN201  # that it has no hint is what is tried
    """Return what no JSON holds."""
    return object()


async def coroutine() -> int:
    """Return something later."""
    return 1


REFUSED: dict[str, tuple[Given, str]] = {
    "a step without a function": (lambda: step("s", UNFIT), "needs a function to call, as in step"),
    "a step of a call": (lambda: step("s", coroutine()), "without calling it"),
    "a step named by a number": (lambda: step(UNFIT, one), "the name of a step must be a str"),
    "a key that is none": (lambda: step("s", one, key=UNFIT), "the key of a step must be a str"),
    "a value without a form": (
        lambda: step("s", anything),
        "Return plain values, or give the function",
    ),
    "a sleep of a text": (lambda: sleep("x"), "must be a timedelta or a number of seconds"),
    "a sleep of nan": (lambda: sleep(math.nan), "must be a length of time"),
    "a question of a number": (lambda: ask(UNFIT), "the name of a question must be a str"),
    "a question without a name": (lambda: ask(""), "a question needs a name"),
    "an answer of a list": (lambda: ask("x", list), "the type of an answer is one of bool, int, float, str"),
    "a key of a question that is none": (lambda: ask("x", key=UNFIT), "the key of a question must be a str"),
    "a prompt of a number": (lambda: ask("x", prompt=UNFIT), "the prompt of a question must be a str"),
    "a map of a number": (lambda: double.map(UNFIT), "takes one item for each call"),
    "an item that does not fit": (
        lambda: double.map([1, "x"]),
        "item 1 of the map, counted from 0, must fit. double: parameter number",
    ),
    "a map of a set": (lambda: double.map({1, 2}), "sort it first"),
    "a map that keeps a text": (lambda: double.map([1], keep_failures="x"), "keep_failures must be True"),
    "a submit of a number": (lambda: double.submit(UNFIT), "as a tuple, as in submit"),
    "a submit of a text": (lambda: double.submit("ab"), "as a tuple, as in submit"),
    "keywords of a number": (lambda: double.submit((), UNFIT), "keyword arguments as a dict"),
    "a detached text": (lambda: double.submit((1,), detached="x"), "detached must be True or False"),
    "a delay of a text": (lambda: double.delay("a"), "parameter number does not fit"),
    "a timeout of a text": (lambda: double.delay(1).result("x"), "timeout must be a number"),
    "a timeout of nan": (lambda: double.delay(1).wait(math.nan), "timeout must be a number"),
    "a reason of a number": (lambda: double.delay(1).abort(UNFIT), "the reason of an abort must be a str"),
    "a priority of a text": (lambda: double.delay(1).prioritize("x"), "priority must be a whole number"),
}


@env.task()
def tries(case: str) -> str:
    """Make a mistake, and say what came of it."""
    try:
        REFUSED[case][0]()
    except InvalidInput as error:
        return str(error)
    return ""


@env.task()
def looks() -> list[object]:
    """Ask all that a handle can be asked."""
    run: Any = double.delay(4)
    told = []
    for verb in ("watch", "aio", "rerun", "recover", "fork", "nonsense"):
        with pytest.raises(AttributeError) as caught:
            getattr(run, verb)
        told.append(str(caught.value))
    changed = run.prioritize(9)
    run.result()
    return [
        [str(event.phase) for event in run.events()][-1],
        run.counts.total,
        len(run.attempts()),
        changed,
        told,
    ]


@env.task()
def breaks() -> int:
    """Raise."""
    raise ValueError("bad")


@env.task()
def passes_on(depth: int) -> int:
    """Let the failure of a child pass."""
    return (passes_on.delay(depth - 1) if depth else breaks.delay()).result()


@env.task()
async def asks_twice(key: str) -> list[int]:
    """Ask the same twice, and wait for both answers; then once more."""
    both = await asyncio.gather(ask("go on", int), ask("go on", int, key=key))
    return [*both, await ask("go on", int)]


@env.task()
def says_the_cause() -> str:
    """Say what the function of a child has raised, and where."""
    with pytest.raises(ActionFailed) as caught:
        breaks.delay().result()
    return str(caught.value.__cause__)


@pytest.fixture
def lab() -> Lab:
    """An installation whose tasks are those above."""
    lab = Lab()
    env.client = lab.client
    return lab


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_told_where_it_is_made(lab: Lab, case: str) -> None:
    """As a sentence that says what to give instead."""
    run = tries.delay(case)
    lab.work()
    assert REFUSED[case][1] in run.result()


def test_a_handle_can_be_asked_inside_a_task(lab: Lab) -> None:
    """Events, attempts, counts and priority as outside; of the other verbs a sentence says what to use."""
    run = looks.delay()
    lab.work()
    phase, total, attempts, changed, told = run.result()
    assert (phase, total, attempts) == ("succeeded", 2, 1)
    assert changed in {0, 1}  # none in a pass after its end
    assert isinstance(told, list)
    assert all("inside the task" in text for text in told[:-1])
    assert told[-1].endswith("has no attribute 'nonsense'")


def test_a_failure_of_a_failure_names_the_way_and_the_first_code(lab: Lab) -> None:
    """The class of the errors between is not said again and again."""
    run = passes_on.delay(2)
    lab.work()
    with pytest.raises(ActionFailed) as caught:
        run.result()
    text = str(caught.value)
    assert text.endswith("[ValueError] bad")
    assert text.count("[") == 1
    assert text.count(f"{run.id}/") == 4


def test_a_lab_tells_the_cause_too(lab: Lab) -> None:
    """As the traceback of the child's function."""
    run = says_the_cause.delay()
    lab.work()
    assert "in breaks" in run.result()


@pytest.mark.rule("R89")
def test_two_questions_alike_need_a_key() -> None:
    """While both wait, as two steps of one name; one after the other they are told apart by their order."""
    with pytest.raises(
        ActionFailed,
        match=r"two questions 'go on' with the same texts are under way .* as in ask\(name, key=…\)",
    ):
        check_replay(asks_twice, "")
    assert check_replay(asks_twice, "second", answers={"go on": 5}).result == [5, 5, 5]


@env.task()
def counts() -> int:
    """Count all actions of the run while a map waits to be read."""
    run: Any = double.map([1, 2, 3], concurrency=2)
    assert sum(run.result()) == 12
    return int(run.counts.total)


def test_counts_are_of_actions_and_a_map_is_one(lab: Lab) -> None:
    """The function itself, the map, and the three calls."""
    run = counts.delay()
    lab.work()
    assert run.result() == run.counts.total == 5
    outside = double.map([1, 2, 3], concurrency=2)
    lab.work()
    assert outside.counts.total == 4

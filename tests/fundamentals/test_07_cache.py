"""Cache: equal calls are computed once, by whoever comes first."""

from __future__ import annotations

import pytest

from reconciler import Cache, TaskEnvironment
from reconciler.stores.memory.catalog import MemoryCatalog
from reconciler.testing import Lab

env = TaskEnvironment("manual7")
computed: list[int] = []


@env.task(cache="auto")
def square(n: int) -> int:
    """Square a number, and note that it was computed."""
    computed.append(n)
    return n * n


@env.task(cache=Cache(version="v1", serialize=True))
def cube(n: int) -> int:
    """Cube a number; of equal calls at one time only one runs."""
    computed.append(n)
    return n**3


@env.task(cache="override")
def fresh(n: int) -> int:
    """Compute always, and replace what is stored."""
    computed.append(n)
    return -n


@pytest.fixture
def lab() -> Lab:
    """An installation with a cache."""
    lab = Lab(catalog=MemoryCatalog())
    env.client = lab.client
    computed.clear()
    return lab


def test_an_equal_call_is_a_hit(lab: Lab) -> None:
    """The second call has the result of the first, and its function does not run."""
    first = square.delay(3)
    lab.work()
    second = square.delay(3)
    lab.work()
    assert (first.result(), second.result(), computed) == (9, 9, [3])


def test_other_arguments_are_another_call(lab: Lab) -> None:
    """Equal means: same task, same code, same arguments."""
    for n in (3, 4):
        square.delay(n)
        lab.work()
    assert computed == [3, 4]


def test_equal_calls_at_the_same_time_run_once(lab: Lab) -> None:
    """With `serialize` one runs under a reservation, and the others wait for its result."""
    runs = [cube.delay(2) for _ in range(10)]
    lab.work()
    assert [run.result() for run in runs] == [8] * 10
    assert computed == [2]


def test_a_stored_result_can_be_replaced(lab: Lab) -> None:
    """`override` computes again, whatever is stored."""
    for _ in range(2):
        fresh.delay(5)
        lab.work()
    assert computed == [5, 5]

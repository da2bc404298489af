"""Runs made of a run of a thousand: as few calls as there is to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler import TaskEnvironment
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R42")
LEAVES = 1000
env = TaskEnvironment("many")
called: list[int] = []
broken: set[int] = set()


@env.task()
def square(n: int) -> int:
    """Square a number, but none that is broken."""
    called.append(n)
    if n in broken:
        raise ValueError(n)
    return n * n


@pytest.fixture
def lab() -> Iterator[Lab]:
    """The engine in memory."""
    called.clear()
    broken.clear()
    made = Lab()
    env.client = made.client
    yield made
    env.client = None


def test_a_fork_and_a_recover_of_a_thousand(lab: Lab) -> None:
    """900 of 1,000 succeeded: recover calls 100; then one input changes: fork calls that one, and the join is made anew."""
    broken.update(range(0, LEAVES, 10))
    first = square.map(range(LEAVES))
    lab.work()
    assert first.counts.phases[ActionPhase.SUCCEEDED] == 900
    broken.clear()
    called.clear()
    second = first.recover()
    lab.work()
    assert sorted(called) == list(range(0, LEAVES, 10))
    assert second.result() == [n * n for n in range(LEAVES)]
    called.clear()
    third = second.fork(inputs={"m7": {"n": 2000}})
    lab.work()
    assert called == [2000]
    assert third.result() == [4_000_000 if n == 7 else n * n for n in range(LEAVES)]
    assert third.counts.phases == {ActionPhase.RECOVERED: LEAVES - 1, ActionPhase.SUCCEEDED: 2}

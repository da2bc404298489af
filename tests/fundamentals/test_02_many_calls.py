"""Many calls are one run: `map` stores them together, and its result is the list of their results."""

from __future__ import annotations

import pytest

from reconciler import NonRetryableError, TaskEnvironment
from reconciler.api.errors import ActionFailed, InvalidArguments
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual2")


@env.task()
def square(n: int, plus: int = 0) -> int:
    """Square a number that is not negative."""
    if n < 0:
        raise NonRetryableError(f"{n} is negative")
    return n * n + plus


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client


def test_map_submits_one_action_for_each_item(lab: Lab) -> None:
    """The items are values of the first parameter; further arguments are the same for each."""
    run = square.map([1, 2, 3], plus=100)
    lab.work()
    assert run.result() == [101, 104, 109]


def test_a_run_ends_when_its_last_action_has(lab: Lab) -> None:
    """The root waits for its members and is woken by the last one; nobody polls."""
    run = square.map(range(20))
    assert run.counts.phases == {ActionPhase.QUEUED: 21}
    lab.work()
    assert run.counts.phases == {ActionPhase.SUCCEEDED: 21}


def test_one_failure_fails_the_run(lab: Lab) -> None:
    """`result` raises what the first failed member raised."""
    run = square.map([1, -2, 3])
    lab.work()
    assert run.phase is ActionPhase.FAILED
    with pytest.raises(ActionFailed, match="-2 is negative"):
        run.result()


def test_partial_failures_can_be_kept(lab: Lab) -> None:
    """With `keep_failures` the run succeeds; `outcomes` has a result or an error for each member, in order."""
    run = square.map([1, -2, 3], keep_failures=True)
    lab.work()
    assert run.phase is ActionPhase.SUCCEEDED
    first, second, third = run.outcomes()
    assert (first, third) == (1, 9)
    assert isinstance(second, ActionFailed)


def test_a_wrong_item_stores_nothing(lab: Lab) -> None:
    """All items are checked before the first one is stored."""
    with pytest.raises(InvalidArguments):
        square.map([1, "two"])
    assert lab.client.runs() == []

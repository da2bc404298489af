"""A task is a function. Declare it, call it, submit it, and have its result."""

from __future__ import annotations

import pytest

from reconciler import TaskEnvironment, current_attempt
from reconciler.api.errors import InvalidArguments
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual1")


@env.task()
def thumbnail(key: str, width: int = 320) -> str:
    """Tell where the picture of this width lies."""
    return f"thumbs/{width}/{key}"


@env.task()
async def fetched(url: str) -> dict[str, int]:
    """Tell how long a URL is; any coroutine function can be a task."""
    return {url: len(url)}


@env.task()
def whoami() -> str:
    """Tell which attempt this is."""
    attempt = current_attempt()
    assert attempt is not None
    return f"{attempt.run} attempt {attempt.attempt}"


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client


def test_calling_a_task_runs_the_function_here() -> None:
    """A task is still a plain function: nothing is stored, no worker is asked."""
    assert thumbnail("cats/1.jpg") == "thumbs/320/cats/1.jpg"


def test_delay_stores_a_call_and_returns_at_once(lab: Lab) -> None:
    """When `delay` returns, the action is stored and queued; nothing has run yet."""
    run = thumbnail.delay("cats/1.jpg", width=640)
    assert run.phase is ActionPhase.QUEUED
    assert [event.phase for event in run.events()] == [ActionPhase.QUEUED]
    assert lab.client.runs()[0].id == run.id


def test_the_result_is_what_the_function_returned(lab: Lab) -> None:
    """A worker takes the call up; `result` gives the value, as the type the function's hint names."""
    run = thumbnail.delay("cats/1.jpg", width=640)
    lab.work()
    assert run.phase is ActionPhase.SUCCEEDED
    assert run.result() == "thumbs/640/cats/1.jpg"


def test_coroutine_functions_are_tasks_as_well(lab: Lab) -> None:
    """`async def` needs nothing else."""
    run = fetched.delay("https://example.org")
    lab.work()
    assert run.result() == {"https://example.org": 19}


def test_a_function_may_ask_which_attempt_it_is(lab: Lab) -> None:
    """`current_attempt()` names run, action and attempt, inside of one; outside it is None."""
    run = whoami.submit(run="monday")
    lab.work()
    assert run.result() == "monday attempt 1"
    assert current_attempt() is None


def test_wrong_arguments_are_told_at_once(lab: Lab) -> None:
    """The caller learns it, not a worker an hour later; nothing is stored."""
    with pytest.raises(InvalidArguments, match="width"):
        thumbnail.delay("cats/1.jpg", width="wide")  # type: ignore[arg-type]  # that is the point
    assert lab.client.runs() == []

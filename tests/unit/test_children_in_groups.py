"""A task group that waits: its suspension comes as a group of exceptions, and is a suspension all the same."""

from __future__ import annotations

import asyncio

import pytest

from reconciler import TaskEnvironment
from reconciler.testing import Lab

env = TaskEnvironment("groups")


@env.task()
def double(number: int) -> int:
    """Double."""
    return 2 * number


async def awaited(run: object) -> int:
    """Await a run."""
    return int(await run)  # type: ignore[misc]  # what delay gives


async def mended(run: object) -> int:
    """Fail while it is suspended."""
    try:
        return await awaited(run)
    finally:
        raise OSError("no room")


@env.task()
async def family(broken: bool) -> int:  # noqa: FBT001  # an argument of a task
    """Await two children in a group below the function's own task."""

    async def both() -> int:
        other = mended if broken else awaited
        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(awaited(double.delay(1))), group.create_task(other(double.delay(2)))]
        return sum(part.result() for part in parts)

    return await both()


@pytest.fixture
def lab() -> Lab:
    """An installation in memory, whose functions are suspended wherever they wait."""
    lab = Lab()
    env.client = lab.client
    return lab


def test_a_group_that_is_suspended_logs_nothing(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """The log of the attempt does not fill with tracebacks of what is no error."""
    run = family.delay(broken=False)
    lab.work()
    assert run.result() == 6
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_an_error_beside_a_suspension_is_logged(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """It would otherwise be lost."""
    family.delay(broken=True)
    lab.work()
    assert "no room" in "\n".join(
        str(record.exc_info) for record in caplog.records if record.name == "asyncio"
    )

"""Maps of many items, of which so many are open at a time: outside a task, and inside of one."""

from __future__ import annotations

import pytest

from reconciler import NonRetryableError, TaskEnvironment, sleep
from reconciler.api.errors import ActionAborted, ActionFailed
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual20")
calls: list[int] = []
passes: list[str] = []


@env.task()
def thumbnail(key: int, broken: int = -1) -> int:
    """Note the call."""
    calls.append(key)
    if key == broken:
        raise NonRetryableError(f"{key} is broken")
    return 10 * key


@env.task()
async def album(keys: int, broken: int = -1) -> int:
    """Add what all of them return."""
    passes.append("album")
    sizes = await thumbnail.map(range(keys), concurrency=3, broken=broken)
    return sum(sizes) + len(sizes)


@env.task()
def plain(keys: int) -> list[int]:
    """Return the results as they are."""
    found = thumbnail.map(range(keys), concurrency=2).result()
    assert found[0] == 0
    return found


@env.task()
async def careful(keys: int, broken: int) -> list[str]:
    """Take errors as results."""
    found = await thumbnail.map(range(keys), concurrency=2, broken=broken, return_exceptions=True)
    return [str(each) for each in found]


@env.task()
async def twice(keys: int) -> int:
    """Ask for the same twice."""
    return sum(await thumbnail.map(range(keys), concurrency=2)) + sum(
        await thumbnail.map(range(keys), concurrency=2)
    )


@env.task(retries=1)
def again() -> int:
    """Fail in the first attempt, for its map did."""
    broken = 1 if not passes else -1
    try:
        return sum(thumbnail.map([0, 1, 2], concurrency=1, broken=1).result())
    except ActionFailed:
        passes.append("failed")
        if broken == 1:
            raise
        return len(calls)


@env.task()
async def nap(seconds: float) -> float:
    """Take so long."""
    await sleep(seconds)
    return seconds


@env.task()
async def takes(seconds: list[float], concurrency: int | None) -> list[float]:
    """Take results as they come."""
    found = []
    async for each in nap.map(seconds, concurrency=concurrency).as_completed():
        found.append(each)
        passes.append(str(found))
    return found


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client
    calls.clear()
    passes.clear()


def test_a_map_outside_a_task_starts_so_many_at_a_time(lab: Lab) -> None:
    """The run is stored at once, and ends when all its calls have."""
    run = thumbnail.map(range(10), concurrency=3)
    assert lab.client.counts(run.id).total == 1
    lab.work()
    assert calls == list(range(10))
    assert run.result() == [10 * key for key in range(10)]


@pytest.mark.rule("R90")
def test_a_map_inside_a_task_is_one_child(lab: Lab) -> None:
    """Its calls are below that child; each is made once, however often the parent is called."""
    run = album.delay(10)
    lab.work()
    assert run.result() == 450 + 10
    assert sorted(calls) == list(range(10))
    assert len(passes) > 1
    (group,) = lab.client.actions(run.id, parent="a0")
    assert group.children.total == 10
    found = lab.client.run(str(group.id), thumbnail).result(0)
    assert found == [10 * key for key in range(10)]


def test_results_may_be_returned_as_they_are(lab: Lab) -> None:
    """As a list."""
    run = plain.delay(5)
    lab.work()
    assert run.result() == [0, 10, 20, 30, 40]


def test_a_map_of_nothing_is_an_empty_list(lab: Lab) -> None:
    """At once."""
    run = plain.delay(1)
    empty = thumbnail.map([], concurrency=5)
    lab.work()
    assert run.result() == [0]
    assert list(empty.result()) == []


def test_the_first_failure_fails_the_map(lab: Lab) -> None:
    """It is raised in the parent with its message; no further call is made."""
    run = album.delay(50, broken=4)
    lab.work()
    with pytest.raises(ActionFailed, match="4 is broken"):
        run.result()
    assert len(calls) < 10


def test_errors_can_be_results_inside_a_task(lab: Lab) -> None:
    """With `return_exceptions` all calls are made."""
    run = careful.delay(6, broken=1)
    lab.work()
    found = run.result()
    assert "1 is broken" in found[1]
    assert [found[0], *found[2:]] == ["0", "20", "30", "40", "50"]


def test_the_same_map_twice_is_two_maps(lab: Lab) -> None:
    """As two calls of the same are."""
    run = twice.delay(4)
    lab.work()
    assert run.result() == 2 * 60
    assert len(calls) == 8


@pytest.mark.rule("R86")
def test_a_new_attempt_makes_a_failed_map_anew(lab: Lab) -> None:
    """Under a name of the attempt."""
    run = again.delay()
    lab.work()
    assert run.result() == 4
    assert calls == [0, 1, 0, 1]
    names = [one.id.action for one in lab.client.actions(run.id, parent="a0")]
    assert len(names) == 2
    assert names[1].endswith("-2")


def test_an_abort_reaches_all_calls(lab: Lab) -> None:
    """Those that were never started are no actions."""
    run = album.delay(100)
    lab.step()
    lab.engine.stepper.step(lab.store.shard_of(run.id))
    run.abort()
    lab.work()
    with pytest.raises(ActionAborted):
        run.result()
    assert all(one.phase is ActionPhase.ABORTED for one in lab.client.actions(run.id))


def test_who_takes_results_is_called_at_once_when_the_map_has_ended(lab: Lab) -> None:
    """However long the pauses between two calls of the function have become until then."""
    run = takes.delay([5.0] * 20, 1)
    lab.work()
    assert run.result() == [5.0] * 20
    (group,) = lab.client.actions(run.id, parent="a0")
    map_ended, parent_ended = (
        lab.client.events(action)[-1].updated_time for action in (group.id, run.action)
    )
    assert 0 <= parent_ended - map_ended < 1000

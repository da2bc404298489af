"""What becomes of results whose outputs are gone from S3, or were cut: in a task, and for a client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from reconciler import TaskEnvironment
from reconciler.api.errors import ActionFailed, BlobCorrupt, BlobNotFound
from reconciler.api.phase import ActionPhase
from reconciler.client import Run
from reconciler.testing import Lab

env = TaskEnvironment("lost")
_PAD = "x" * 5000
"""Makes outputs so large that they lie in S3 alone."""
_spoil: list[Callable[[], None]] = []
_seen: list[object] = []


@env.task()
def large(n: int) -> str:
    """Return a lot."""
    return f"{n}{_PAD}"


def _spoilt(run: Any) -> Any:
    """Return a map that has ended, with what it gave away spoilt."""
    run.wait()
    _spoil[0]()
    return run


@env.task()
def listed(count: int, concurrency: int | None) -> list[str]:
    """Return the results of a map as a list."""
    _seen[:] = list(_spoilt(large.map(range(count), concurrency=concurrency)).result())
    return [str(each)[0] for each in _seen]


@env.task()
def indexed(count: int, concurrency: int | None) -> str:
    """Return the result of one call of a map."""
    return str(_spoilt(large.map(range(count), concurrency=concurrency)).result()[2])


@env.task()
async def awaited(count: int, concurrency: int | None) -> list[str]:
    """Await the results of a map."""
    run = large.map(range(count), concurrency=concurrency)
    await run
    _spoil[0]()
    return [str(each)[0] for each in await run]


@env.task()
def coming(count: int, concurrency: int | None) -> list[str]:
    """Return the results of a map as they come."""
    run = _spoilt(large.map(range(count), concurrency=concurrency))
    return [str(each)[0] for each in run.as_completed()]


@env.task()
def kept(count: int, concurrency: int | None) -> list[str]:
    """Ask for errors as values, in each way there is."""
    run = _spoilt(large.map(range(count), concurrency=concurrency, return_exceptions=True))
    ways: Sequence[Sequence[object]] = (
        run.result(),
        run.outcomes(),
        [each for _, each in sorted(run.as_completed(indexed=True))],
    )
    return [_told(way) for way in ways]


def _told(outcomes: Sequence[object]) -> str:
    """Say in a word for each what it is."""
    return " ".join(each.code if isinstance(each, ActionFailed) else str(each)[0] for each in outcomes)


@pytest.fixture
def lab() -> Lab:
    """A lab that submits what `env` declares."""
    lab = Lab()
    env.client = lab.client
    _spoil.clear()
    _seen.clear()
    return lab


def third(lab: Lab, run: Run[Any]) -> str:
    """Find where the outputs of the third call of a map lie, in S3 alone."""
    (record,) = (one for one in lab.client.actions(run.id) if one.id.action.rpartition(".")[2] in {"2", "m2"})
    ref = record.status.outputs
    assert ref is not None
    assert ref.inline is None
    return ref.uri


def removed(lab: Lab, run: Run[Any]) -> None:
    """Remove the outputs of the third call."""
    lab.blobs.delete([third(lab, run)])


def cut(lab: Lab, run: Run[Any]) -> None:
    """Cut the outputs of the third call."""
    uri = third(lab, run)
    lab.blobs.put(uri, lab.blobs.get(uri)[:-1])


DAMAGES = [(removed, BlobNotFound), (cut, BlobCorrupt)]


@pytest.mark.rule("R90")
@pytest.mark.parametrize("concurrency", [None, 2])
@pytest.mark.parametrize("parent", [listed, indexed, awaited, coming])
@pytest.mark.parametrize(("damage", "kind"), DAMAGES)
def test_a_task_is_given_no_error_as_a_result(
    lab: Lab, parent: Any, damage: Callable[..., None], kind: type[Exception], concurrency: int | None
) -> None:
    """However it reads the results of a map: an output that cannot be read fails it, and says which."""
    run = parent.delay(4, concurrency)
    _spoil.append(lambda: damage(lab, run))
    lab.work()
    assert lab.get(run.action).phase is ActionPhase.FAILED, _seen
    with pytest.raises(ActionFailed, match=rf"{kind.__name__}.*outputs"):
        run.result(0)


@pytest.mark.parametrize("concurrency", [None, 2])
@pytest.mark.parametrize(("damage", "kind"), DAMAGES)
def test_a_task_that_asks_for_errors_is_given_them(
    lab: Lab, damage: Callable[..., None], kind: type[Exception], concurrency: int | None
) -> None:
    """In the place of the one result that cannot be read; all others are there."""
    run = kept.delay(4, concurrency)
    _spoil.append(lambda: damage(lab, run))
    lab.work()
    assert run.result(0) == [f"0 1 {kind.__name__} 3"] * 3


@pytest.mark.parametrize("concurrency", [None, 2])
@pytest.mark.parametrize(("damage", "kind"), DAMAGES)
def test_a_client_is_given_no_error_as_a_result(
    lab: Lab, damage: Callable[..., None], kind: type[Exception], concurrency: int | None
) -> None:
    """Reading the list raises what is wrong with the object."""
    run = large.map(range(4), concurrency=concurrency)
    lab.work()
    damage(lab, run)
    with pytest.raises(kind, match="m2"):
        list(run.result(0))


@pytest.mark.parametrize("concurrency", [None, 2])
@pytest.mark.parametrize(("damage", "kind"), DAMAGES)
def test_a_client_that_asks_for_errors_is_given_them(
    lab: Lab, damage: Callable[..., None], kind: type[Exception], concurrency: int | None
) -> None:
    """One result that cannot be read hides no other, whatever is asked: the error stands in its place."""
    run = large.map(range(4), concurrency=concurrency, return_exceptions=True)
    lab.work()
    damage(lab, run)
    comes = [each for _, each in sorted(run.as_completed(indexed=True), key=lambda one: one[0])]
    expected = f"0 1 {kind.__name__} 3"
    assert [_told(way) for way in (run.result(0), run.outcomes(), comes)] == [expected] * 3
    lone = lab.client.run(f"{run.id.run}/m2")
    assert _told(lone.outcomes()) == kind.__name__


@pytest.mark.parametrize("concurrency", [None, 2])
@pytest.mark.parametrize(("damage", "kind"), DAMAGES)
def test_who_cannot_read_a_result_is_told_how_to_make_it_again(
    lab: Lab, damage: Callable[..., None], kind: type[Exception], concurrency: int | None
) -> None:
    """By the client for a member and for the map, and in a task: a command that works."""
    run = large.map(range(4), concurrency=concurrency)
    lab.work()
    damage(lab, run)
    way = f"`reconciler fork {run.id} --again m2`, or all with `reconciler rerun {run.id}`"
    readers: list[Callable[[], object]] = [
        lambda: lab.client.result(run.id.action("m2")),
        lambda: list(run.result(0)),
        lambda: list(run.as_completed()),
    ]
    for read in readers:
        with pytest.raises(kind) as told:
            read()
        assert way in str(told.value)
        assert "Check the URI" not in str(told.value)
    again = run.fork(again=["m2"])
    lab.work()
    assert list(again.result(0)) == run_of(lab)


def run_of(lab: Lab) -> list[str]:
    """Return what a map gives of which nothing was spoilt."""
    run = large.map(range(4))
    lab.work()
    return run.result(0)

"""Objects in S3 are lost, cut short or changed after the fact: nobody is ever served what was not written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import s3_tasks
from click.testing import CliRunner
from s3_stack import Spoilt, spoilt_stack

from reconciler.api.action import TaskAction
from reconciler.api.errors import ActionFailed, BlobCorrupt, BlobNotFound
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import CacheStatus
from reconciler.cli import main
from reconciler.client import Run
from reconciler.testing.invariants import check_run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoilt]:
    """One stack for all tests."""
    with spoilt_stack(tmp_path_factory.mktemp("s3") / "data") as running:
        yield running


def removed(_: bytes) -> None:
    """Remove the object."""


def truncated(data: bytes) -> bytes:
    """Cut off its end."""
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """Change one bit."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def emptied(_: bytes) -> bytes:
    """Remove all its bytes."""
    return b""


Damage = Callable[[bytes], bytes | None]
DAMAGES: list[Damage] = [removed, truncated, flipped, emptied]


def harm(spoilt: Spoilt, record: TaskAction, damage: Damage) -> None:
    """Do this to the outputs of an action, as somebody with the keys of the bucket could."""
    assert record.status.outputs is not None
    assert record.status.outputs.inline is None, "the record would hide the damage"
    bucket, _, key = record.status.outputs.uri.removeprefix("s3://").partition("/")
    place: dict[str, Any] = {"Bucket": bucket, "Key": key}
    data = damage(spoilt.s3.get_object(**place)["Body"].read())
    if data is None:
        spoilt.s3.delete_object(**place)
    else:
        spoilt.s3.put_object(**place, Body=data)


def question(name: str) -> str:
    """Return a question whose answer lies in S3 alone."""
    return name.ljust(s3_tasks.SIZE, "?")


@pytest.mark.parametrize("damage", DAMAGES)
def test_readers_are_told(spoilt: Spoilt, tmp_path: Path, damage: Damage) -> None:
    """`result()` of one action and of a group, and the command line, say that the outputs are damaged, every time."""
    run = s3_tasks.reply.delay(question(damage.__name__), tally=str(tmp_path / "tally"))
    group = s3_tasks.reply.map(
        [question(f"{n} {damage.__name__}") for n in range(3)], tally=str(tmp_path / "t")
    )
    harm(spoilt, run.wait(PATIENCE), damage)
    group.wait(PATIENCE)
    harm(spoilt, list(spoilt.client.actions(group.id, parent=group.action.action))[1], damage)
    expected = BlobNotFound if damage is removed else BlobCorrupt
    readers: list[Run[Any]] = [run, group]
    for reader in readers:
        with pytest.raises(expected, match=r"outputs\.pb"):
            reader.result(PATIENCE)
    told = CliRunner().invoke(main, ["result", run.id.run], env=spoilt.stack.env())
    assert told.exit_code != 0
    assert "unexpected" not in told.output
    assert "outputs.pb" in told.output
    assert s3_tasks.answer(question(damage.__name__))[:64] not in told.output


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_no_hit_and_is_replaced(spoilt: Spoilt, tmp_path: Path, damage: Damage) -> None:
    """The function runs again, gives the right answer, and its outputs are what the next call hits."""
    tally = tmp_path / "tally"
    asked = question(f"cached {damage.__name__}")
    runs = []
    for _ in range(4):
        runs.append(s3_tasks.remembered.delay(asked, tally=str(tally)))
        record = runs[-1].wait(PATIENCE)
        assert runs[-1].result(PATIENCE) == s3_tasks.answer(asked)
        if len(runs) == 2:
            # a hit has a copy of its own: harm what the entry refers to, the outputs of whoever filled it
            harm(spoilt, spoilt.client.get(runs[0].action), damage)
        assert record.phase is ActionPhase.SUCCEEDED
    statuses = [spoilt.client.get(run.action).status.cache_status for run in runs]
    assert statuses == [CacheStatus.POPULATED, CacheStatus.HIT, CacheStatus.POPULATED, CacheStatus.HIT]
    assert len(tally.read_text().splitlines()) == 2
    assert runs[1].result(PATIENCE) == s3_tasks.answer(asked), "a hit of before must outlive the damage"


def test_failures_and_aborts_are_never_cached(spoilt: Spoilt, tmp_path: Path) -> None:
    """After a failure and after an abort the key is empty and free: the next call runs, and only its success is hit."""
    tally, obstacle = tmp_path / "tally", tmp_path / "obstacle"
    obstacle.touch()
    given = {"question": question("poison"), "tally": str(tally), "obstacle": str(obstacle)}
    failed = s3_tasks.remembered_unless.delay(**given)
    with pytest.raises(ActionFailed, match="obstacle"):
        failed.result(PATIENCE)
    again = s3_tasks.remembered_unless.delay(**given)
    with pytest.raises(ActionFailed, match="obstacle"):
        again.result(PATIENCE)
    assert len(tally.read_text().splitlines()) == 2, "a failure was served from the cache"
    aborted = s3_tasks.remembered_unless.delay(**given)
    aborted.abort("no longer wanted")
    aborted.wait(PATIENCE)
    obstacle.unlink()
    ran = len(tally.read_text().splitlines())
    runs = [s3_tasks.remembered_unless.delay(**given) for _ in range(2)]
    assert [run.result(PATIENCE) for run in runs] == [s3_tasks.answer(given["question"])] * 2
    statuses = sorted(spoilt.client.get(run.action).status.cache_status for run in runs)
    assert statuses == sorted([CacheStatus.POPULATED, CacheStatus.HIT])
    assert len(tally.read_text().splitlines()) == ran + 1
    for run in (failed, again, aborted, *runs):
        check_run(spoilt.client, run.id)

"""The collector archives what ended before it forgets it."""

from __future__ import annotations

import gzip
from datetime import timedelta
from typing import Any

import pytest
import structlog

from reconciler.api.action import ActionId
from reconciler.api.errors import BlobUnavailable
from reconciler.api.transition import PhaseInfo, TaskInfo, failure, running, success
from reconciler.archive.archive import Archive
from reconciler.archive.index import Row, list_index, read_rows
from reconciler.archive.layout import EVENTS, day_of, run_path
from reconciler.archive.record import ArchivedRun
from reconciler.plugins.context import TaskExecutionContext
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.sweeps import expire as expiring
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = pytest.mark.rule("R42")
HOURS = timedelta(hours=1)


def answer(ctx: TaskExecutionContext) -> PhaseInfo:
    """Write outputs and succeed."""
    return success(TaskInfo(occurred_at=ctx.now, outputs=ctx.files.write_outputs(b'{"o0":1}')))


def lab_of(answers: Any = answer, **settings: Any) -> Lab:
    """Return a lab with one kind of task."""
    return Lab([ScriptedPlugin("task", answers)], **settings)


def swept(lab: Lab, blobs: Any = None) -> int:
    """Run one pass of the collector; return how many actions it forgot."""
    return collect(lab.store, lab.settings, lab.blobs if blobs is None else blobs)


def ended(lab: Lab, **spec: Any) -> ActionId:
    """Return an action that ended longer than its retention ago."""
    action = lab.submit("task", **spec)
    lab.settle()
    lab.clock.advance(2 * HOURS)
    return action


def read(lab: Lab, action: ActionId, incarnation: str = "") -> ArchivedRun:
    """Return its run from the archive; it must be there, whole."""
    run = Archive(lab.blobs).read_run(action.run_id, incarnation)
    assert run is not None
    assert (run.damage, run.missing) == ("", 0)
    return run


def rows(lab: Lab, project: str = "default") -> list[Row]:
    """Return all lines of the index, each run once."""
    found, _ = list_index(lab.blobs, project, "0000", "9999")
    return list(read_rows(lab.blobs, found).rows.values())


def test_what_is_forgotten_lies_in_the_archive() -> None:
    """A run goes from the store when its retention has passed, and can be read from the archive then; not earlier."""
    lab = lab_of()
    action = lab.submit("task")
    lab.settle()
    assert swept(lab) == 0
    live, events = lab.get(action), lab.events(action)
    lab.clock.advance(2 * HOURS)
    assert swept(lab) == 1
    assert lab.store.get(action) is None
    run = read(lab, action)
    assert run.actions[action.action].status == live.status
    assert run.events(action.action) == events
    assert swept(lab) == 0


def test_without_an_archive_it_is_forgotten_as_before() -> None:
    """RECONCILER_ARCHIVE=0: nothing is written, and nothing is kept longer."""
    lab = lab_of(archive=timedelta(0))
    action = ended(lab)
    assert swept(lab) == 1
    assert Archive(lab.blobs).read_run(action.run_id) is None
    assert rows(lab) == []


def test_the_index_says_what_a_run_was() -> None:
    """Its line has project, day, tasks, phases, error codes and labels, with how many actions are alike."""
    lab = lab_of(lambda _: failure("Broken", "no"))
    action = ended(lab)
    swept(lab)
    [row] = rows(lab)
    assert row.id == action.run_id
    assert (row.task, row.phase, row.actions) == ("task", "failed", 1)
    assert [(group.task, group.phase, group.code, group.count) for group in row.groups] == [
        ("task", "failed", "Broken", 1)
    ]
    found, requests = list_index(lab.blobs, "default", day_of(row.ended_at), day_of(row.ended_at))
    assert (len(found), requests) == (1, 1)
    assert list_index(lab.blobs, "other", "0000", "9999")[0] == []


class Away:
    """Objects of a server that stops answering after so many calls; as if its process died there.

    Args:
        inner: the objects.
        calls: how many are answered.
        after: whether the last one is carried out, and only its answer is lost.
    """

    def __init__(self, inner: MemoryBlobs, calls: int, *, after: bool) -> None:
        self._inner = inner
        self._left = calls
        self._after = after

    def __getattr__(self, name: str) -> Any:  # any verb
        found = getattr(self._inner, name)
        if name == "uri":
            return found

        def call(*args: Any, **given: Any) -> Any:  # as above
            self._left -= 1
            if self._left < 0:
                if self._after and self._left == -1:
                    found(*args, **given)
                raise BlobUnavailable("S3 does not answer; start it")
            return found(*args, **given)

        return call


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("calls", range(6))
def test_s3_may_be_away_at_any_call(calls: int, *, after: bool) -> None:
    """Nothing is forgotten that is not archived, wherever S3 stops; the next pass catches up, and nothing is there twice."""
    lab = lab_of()
    actions = [lab.submit("task") for _ in range(3)]
    lab.settle()
    lab.clock.advance(2 * HOURS)
    records = {action: lab.get(action).status for action in actions}
    forgotten = swept(lab, Away(lab.blobs, calls, after=after))
    for action in actions:
        kept = lab.store.get(action) is not None
        assert kept or read(lab, action).actions[action.action].status == records[action]
    lab.clock.advance(HOURS)
    assert forgotten + swept(lab) == 3
    assert sorted(row.id for row in rows(lab)) == sorted(action.run_id for action in actions)
    for action in actions:
        assert read(lab, action).actions[action.action].status == records[action]


def test_a_run_of_weeks_keeps_its_events() -> None:
    """Events older than the channel keeps them go to the archive before; the run has all of them, each once, in order."""
    ends = timedelta(days=21)
    begun = 0

    def slow(ctx: TaskExecutionContext) -> PhaseInfo:
        """Say something new every six minutes, for three weeks."""
        nonlocal begun
        begun = begun or ctx.now
        if ctx.now - begun >= ends.total_seconds() * 1000:
            return success(TaskInfo(occurred_at=ctx.now))
        said = (ctx.now - begun) // 360_000
        return running(int(said), TaskInfo(occurred_at=ctx.now))

    lab = lab_of(slow, requeue_duration=timedelta(minutes=6))
    action, start = lab.submit("task"), lab.clock()
    for quarter in range(1, 22 * 4 + 1):
        lab.settle(limit=6 * HOURS)
        lab.clock.move_to(max(lab.clock(), start + quarter * 6 * 3_600_000))
        swept(lab)
    run = read(lab, action)
    events = run.events(action.action)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert len(events) == run.actions[action.action].events > 5000
    assert [event.updated_time for event in events] == sorted(event.updated_time for event in events)
    assert lab.blobs.find(lab.blobs.uri(EVENTS)) == []


def test_an_action_with_more_events_than_its_record_knows() -> None:
    """A record knows the positions of its newest 200 events; the archive has all."""
    told = 0

    def chatty(ctx: TaskExecutionContext) -> PhaseInfo:
        nonlocal told
        told += 1
        if told > 450:
            return success(TaskInfo(occurred_at=ctx.now))
        return running(told, TaskInfo(occurred_at=ctx.now))

    lab = lab_of(chatty, requeue_duration=timedelta(seconds=1))
    action = ended(lab)
    assert swept(lab) == 1
    events = read(lab, action).events(action.action)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert len(events) > 450


def test_a_name_used_again_is_another_run_of_the_archive() -> None:
    """Two runs of one name lie side by side, each with its own events; the later one is read unless the other is named."""
    lab = lab_of()
    first = ended(lab, run_name="nightly")
    incarnation = lab.get(first).metadata.incarnation
    swept(lab)
    second = ended(lab, run_name="nightly")
    other = lab.get(second).metadata.incarnation
    swept(lab)
    assert {row.incarnation for row in rows(lab)} == {incarnation, other}
    assert [read(lab, first, which).incarnation for which in (incarnation, other, "")] == [
        incarnation,
        other,
        other,
    ]
    assert len(read(lab, first, incarnation).events("a0")) == len(read(lab, first, other).events("a0"))


def test_what_lies_in_its_place_is_told() -> None:
    """A run whose object is damaged before it was marked is kept in the store, and the log says why; others go."""
    lab = lab_of()
    bad, good = lab.submit("task"), lab.submit("task")
    lab.settle()
    lab.clock.advance(2 * HOURS)
    incarnation = lab.get(bad).metadata.incarnation
    lab.blobs.put(lab.blobs.uri(f"_archive/runs/{bad.run_id}@{incarnation}.ndjson.gz"), b"damaged")
    with structlog.testing.capture_logs() as logs:
        assert swept(lab) == 1
    assert [line["run"] for line in logs if line["event"] == "archive.refused"] == [str(bad.run_id)]
    assert lab.store.get(bad) is not None
    assert lab.store.get(good) is None


@pytest.mark.parametrize("collects", [False, True])
def test_the_archive_is_kept_for_its_time(*, collects: bool) -> None:
    """After RECONCILER_ARCHIVE a run goes, and with RECONCILER_COLLECT_OBJECTS all it names, too; not earlier."""
    lab = lab_of(archive=timedelta(days=3), collect_objects=collects, inline_limit=1)
    old = ended(lab, inputs={"x": "x" * 5000})
    outputs = lab.get(old).status.outputs
    assert outputs is not None
    swept(lab)
    lab.clock.advance(timedelta(days=3) - 6 * HOURS)
    young = ended(lab)
    swept(lab)
    assert read(lab, old).actions["a0"].status.outputs == outputs
    assert lab.blobs.stat(outputs.uri)
    lab.clock.advance(timedelta(days=2))
    swept(lab)
    assert Archive(lab.blobs).read_run(old.run_id) is None
    assert [row.id for row in rows(lab)] == [young.run_id]
    assert read(lab, young)
    assert (lab.blobs.stat(outputs.uri) is None) is collects
    left = [one.uri for one in lab.blobs.find(lab.blobs.uri("_runs")) if old.run in one.uri]
    assert bool(left) is not collects


def old_run(lab: Lab) -> tuple[ActionId, str]:
    """Return a run whose time in the archive is over, and where its object lies."""
    old = ended(lab, inputs={"x": "x" * 5000})
    incarnation = lab.get(old).metadata.incarnation
    swept(lab)
    return old, lab.blobs.uri(run_path(old.run_id, incarnation))


@pytest.mark.parametrize("cut", [False, True])
def test_of_a_damaged_run_all_goes_in_time(*, cut: bool) -> None:
    """What cannot be read of it is found by its place, as when its deletion is asked for."""
    lab = lab_of(archive=timedelta(days=3), collect_objects=True, inline_limit=1)
    old, uri = old_run(lab)
    lines = gzip.decompress(lab.blobs.get(uri)).splitlines(keepends=True)
    lab.blobs.put(uri, gzip.compress(lines[0]) if cut else b"damaged")
    lab.clock.advance(timedelta(days=5))
    swept(lab)
    assert rows(lab) == []
    assert [one.uri for one in lab.blobs.find("s3://memory/_")] == [], old


@pytest.mark.parametrize("many", [False, True])
def test_of_a_lost_run_all_goes_in_time(monkeypatch: pytest.MonkeyPatch, *, many: bool) -> None:
    """Of a run whose object is gone the folders are found; where many are gone a rule of the bucket has taken both."""
    monkeypatch.setattr(expiring, "_LOST", 0 if many else 1)
    lab = lab_of(archive=timedelta(days=3), collect_objects=True, inline_limit=1)
    old, uri = old_run(lab)
    lab.blobs.delete([uri])
    lab.clock.advance(timedelta(days=5))
    with structlog.testing.capture_logs() as logs:
        swept(lab)
    assert rows(lab) == []
    assert any(old.run in one.uri for one in lab.blobs.find("s3://memory/_")) is many
    assert [line["event"] for line in logs if line["event"].startswith("archive.o")] == [
        "archive.objects_left"
    ]


def test_what_a_newer_release_archived_is_left_to_it() -> None:
    """Only that one knows what is its: its object and its line stay, those of the others of its day go."""
    lab = lab_of(archive=timedelta(days=3), collect_objects=True, inline_limit=1)
    other = lab.submit("task", inputs={"x": "x" * 5000})
    new, uri = old_run(lab)
    whole = lab.blobs.get(uri)
    lab.blobs.put(uri, gzip.compress(b'{"kind":"run","version":99}\n'))
    lab.clock.advance(timedelta(days=5))
    with structlog.testing.capture_logs() as logs:
        swept(lab)
    assert [line["event"] for line in logs if line["event"].startswith("archive.not")] == [
        "archive.not_deleted"
    ]
    assert [row.id for row in rows(lab)] == [new.run_id]
    kept = [one.uri for one in lab.blobs.find(lab.blobs.uri("_runs"))]
    assert (any(new.run in each for each in kept), any(other.run in each for each in kept)) == (True, False)
    lab.blobs.put(uri, whole)
    lab.clock.advance(2 * HOURS)
    swept(lab)
    assert [one.uri for one in lab.blobs.find("s3://memory/_")] == []


@pytest.mark.parametrize("calls", range(8))
def test_expiring_may_be_cut_off_anywhere(calls: int) -> None:
    """Whoever dies while the archive is emptied is followed by one who finishes it; nothing is left that nobody knows of."""
    lab = lab_of(archive=timedelta(days=3), collect_objects=True, inline_limit=1)
    for _ in range(2):
        lab.submit("task", inputs={"x": "x" * 5000})
    lab.settle()
    lab.clock.advance(2 * HOURS)
    swept(lab)
    lab.clock.advance(timedelta(days=5))
    swept(lab, Away(lab.blobs, calls, after=False))
    lab.clock.advance(2 * HOURS)
    swept(lab)
    assert [one.uri for one in lab.blobs.find("s3://memory/_")] == []

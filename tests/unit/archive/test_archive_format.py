"""One run in the archive: written once, read whole, and what is damaged is told."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta

import pytest

from reconciler.api.action import ActionId, RunId
from reconciler.api.errors import ArchiveDamaged, ArchiveTooNew, RunSealed
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import PhaseInfo, TaskInfo, success
from reconciler.archive.archive import Archive
from reconciler.archive.packing import pack, unpack
from reconciler.archive.record import ArchivedRun
from reconciler.plugins.context import TaskExecutionContext
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = pytest.mark.rule("R42")


def answer(ctx: TaskExecutionContext) -> PhaseInfo:
    """Write outputs and succeed."""
    return success(TaskInfo(occurred_at=ctx.now, outputs=ctx.files.write_outputs(b'{"o0":1}')))


def ended_lab() -> tuple[Lab, ActionId]:
    """Return a lab with one run of an action that succeeded."""
    lab = Lab([ScriptedPlugin("task", answer)])
    action = lab.submit("task", inputs={"x": "ä"})
    lab.settle()
    return lab, action


def archived(lab: Lab, run: RunId) -> tuple[Archive, str]:
    """Return the archive that holds the run, and the URI of its object."""
    archive = Archive(lab.blobs)
    raw = lab.store.recall(run)
    assert raw is not None
    return archive, archive.write(raw, {"recovered_from": "p/d/r@1"}).uri


def read(archive: Archive, run: RunId) -> ArchivedRun:
    """Return the run, which must be there."""
    found = archive.read_run(run)
    assert found is not None
    return found


def test_what_is_read_is_what_was_stored() -> None:
    """Record, events and attempts of an archived action are those of the live one; it says that it is archived."""
    lab, action = ended_lab()
    live, attempts = lab.get(action), lab.client.attempts(action)
    archive, _ = archived(lab, action.run_id)
    run = read(archive, action.run_id)
    record = run.actions[action.action]
    for part in ("id", "spec", "status", "metadata", "signal", "version", "events", "phase", "children"):
        assert getattr(record, part) == getattr(live, part), part
    assert (record.archived, live.archived) == (True, False)
    assert record.ended_at == run.ended_at > 0
    assert run.events(action.action) == lab.events(action)
    assert run.events(action.action, after=1) == lab.events(action)[1:]
    assert run.attempts(action.action) == attempts
    assert run.lineage == {"recovered_from": "p/d/r@1"}
    assert (run.damage, run.missing) == ("", 0)
    assert archive.read_run(action.run_id, live.metadata.incarnation) is not None
    assert archive.read_run(action.run_id, "other") is None
    assert archive.read_run(RunId("p", "d", "nobody")) is None


def test_children_are_counted() -> None:
    """A parent knows how many children it had, and how many failed, as a live one does."""
    lab = Lab([])
    run = lab.client.submit_many([], run="empty")
    lab.settle()
    assert lab.get(run.action).children.total == 0
    archive, _ = archived(lab, run.action.run_id)
    assert read(archive, run.action.run_id).actions["a0"].phase is ActionPhase.SUCCEEDED


def test_a_run_is_written_once() -> None:
    """Who archives a run again, after a death, takes what lies there, but never what is not this run."""
    lab, action = ended_lab()
    _, uri = archived(lab, action.run_id)
    before = lab.blobs.get(uri)
    assert archived(lab, action.run_id)[1] == uri
    assert lab.blobs.get(uri) == before
    lab.blobs.put(uri, pack(['{"kind":"run","version":1,"project":"p","domain":"d","run":"x"}']))
    with pytest.raises(ArchiveDamaged, match="Restore it from a copy"):
        archived(lab, action.run_id)


def test_a_newer_version_is_told() -> None:
    """An object of a newer release is not guessed at: the error names both versions and the remedy."""
    lab, action = ended_lab()
    archive, uri = archived(lab, action.run_id)
    lab.blobs.put(uri, pack(['{"kind":"run","version":2,"other":true}']))
    with pytest.raises(ArchiveTooNew, match=r"version 2 .* reads up to 1.*newer release"):
        archive.read_run(action.run_id)


@pytest.mark.parametrize("cut", [1, 9, 60])
def test_a_cut_object_is_told_and_its_rest_is_read(cut: int) -> None:
    """Of an object that was cut, what stands before the cut is read, and the run says what is missing."""
    lab, action = ended_lab()
    archive, uri = archived(lab, action.run_id)
    lab.blobs.put(uri, lab.blobs.get(uri)[:-cut])
    run = read(archive, action.run_id)
    assert f"{uri} is damaged: 1 of 1 actions and {len(run.events(action.action))} of " in run.damage
    assert run.actions[action.action].phase is ActionPhase.SUCCEEDED


def test_a_damaged_member_costs_no_other() -> None:
    """One wrong byte in a large object costs the lines near it; those before and behind are read."""
    lines = [json.dumps({"n": n, "text": f"{n * 7919:x}" * 200}) for n in range(4000)]
    data = bytearray(pack(lines))
    assert [line.decode() for line in unpack(bytes(data)).lines] == lines
    assert gzip.decompress(bytes(data)).decode().splitlines() == lines
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    found = unpack(bytes(data))
    assert found.lost >= 1
    kept = {line.decode() for line in found.lines}
    assert {lines[0], lines[-1]} <= kept


def test_nothing_of_a_wrong_object_is_taken() -> None:
    """Bytes that are no archive are told as such."""
    lab, action = ended_lab()
    archive, uri = archived(lab, action.run_id)
    for data in (b"", b"no gzip", gzip.compress(b"no json\n"), pack(["[]", "3", '{"kind":7}'])):
        lab.blobs.put(uri, data)
        with pytest.raises(ArchiveDamaged):
            archive.read_run(action.run_id)


def test_a_sealed_run_refuses_with_the_remedy() -> None:
    """Whoever adds to a run that goes to the archive is told why, and what to do."""
    lab, action = ended_lab()
    lab.clock.advance(timedelta(hours=2))
    lab.store.seal(lab.store.shard_of(action.run_id), before=lab.clock(), limit=10)
    with pytest.raises(RunSealed, match="Submit under another run name"):
        lab.submit("task", run_name=action.run, action_name="second")

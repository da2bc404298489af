"""Runs made of runs that the archive remembers."""

from __future__ import annotations

import gzip
import re
from datetime import timedelta
from typing import Any

import pytest

from reconciler import TaskEnvironment
from reconciler.api.errors import BlobUnavailable, SourceUnusable
from reconciler.api.phase import ActionPhase
from reconciler.archive.archive import Archive
from reconciler.archive.layout import run_path
from reconciler.client import Client, Run
from reconciler.stores.garbage import Life
from reconciler.stores.holds import RunLife
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab
from worker.dashboard import detail

env = TaskEnvironment("archived")
PAD = "x" * 5000
broken: set[int] = set()


@env.task()
def square(n: int) -> str:
    """Square a number, but none that is broken; outputs are large, so they lie in S3 alone."""
    if n in broken:
        raise ValueError(n)
    return f"{n * n}{PAD}"


def remembered() -> tuple[Lab, Run[list[str]]]:
    """Return a lab, and a run of which one call failed, that only the archive knows any more."""
    lab = Lab()
    env.client = lab.client
    broken.add(1)
    run = square.map(range(3), run="nightly")
    lab.work()
    broken.clear()
    raw = lab.store.recall(run.id)
    assert raw is not None
    Archive(lab.blobs).write(raw)
    lab.clock.advance(timedelta(hours=2))
    for _ in range(2):
        collect(lab.store, lab.settings, lab.blobs)
    assert lab.store.get(run.action) is None
    return lab, run


def outputs_uri(lab: Lab, run: Run[list[str]], name: str) -> str:
    """Where outputs of an archived action lie."""
    found = Archive(lab.blobs).read_run(run.id)
    assert found is not None
    ref = found.actions[name].status.outputs
    assert ref is not None
    return ref.uri


def test_recover_and_rerun() -> None:
    """As of a live run: what succeeded is taken over, and its objects are held."""
    lab, run = remembered()
    second = run.recover()
    lab.work()
    assert [text.removesuffix(PAD) for text in second.result()] == ["0", "1", "4"]
    assert lab.get(second.id.action("m2")).phase is ActionPhase.RECOVERED
    life = RunLife(run.id, run.incarnation)
    assert lab.client.made_of(second.id) == life
    assert lab.client.made_into(life) == [second.id]
    again = lab.client.rerun(run.id)
    lab.work()
    assert len(again.result()) == 3


def test_both_know_of_each_other_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored, archived, or one of each; also when a later run has the name of the one that was made."""
    lab, run = remembered()
    life = RunLife(run.id, run.incarnation)
    second = run.recover()
    lab.work()
    third = second.rerun()
    lab.work()
    assert lab.client.made_into(life) == [second.id]
    lab.clock.advance(timedelta(hours=2))
    for _ in range(2):
        collect(lab.store, lab.settings, lab.blobs)
    assert lab.client.runs() == []
    client = Client(lab.store, lab.blobs, lab.messenger, lab.settings)
    for _ in range(2):  # once read, and once remembered
        assert client.made_into(life) == [second.id]
        assert client.made_into(RunLife(second.id, second.incarnation)) == [third.id]
    assert client.made_into(RunLife(third.id, third.incarnation)) == []
    assert (client.made_of(second.id), client.made_of(run.id)) == (life, None)
    document = detail.run_document(client, run.id, read_only=True)
    assert (document["archived"], document["made_into"]) == (True, [str(second.id)])
    assert detail.run_document(client, second.id, read_only=True)["made_by"]["source"] == str(life)
    square.submit((3,), run=second.id.run)
    assert client.made_into(life) == [second.id]
    with monkeypatch.context() as patch:
        patch.setattr(lab.blobs, "find", away)
        assert client.made_into(life) == []
    assert client.made_into(life) == [second.id]


def away(*_: Any, **__: Any) -> None:
    """What S3 answers that nobody can reach."""
    raise BlobUnavailable("S3 does not answer; start it")


def test_a_later_run_has_its_name() -> None:
    """The handle of the archived run finds it all the same; by its name alone the later one is meant."""
    lab, run = remembered()
    square.submit((7,), run="nightly")
    lab.work()
    second = run.recover()
    lab.work()
    assert len(second.result()) == 3
    with pytest.raises(SourceUnusable, match="nothing is to be recovered"):
        lab.client.recover(run.id)


def test_objects_that_are_gone_or_going() -> None:
    """A rule of the bucket deleted some, or the collector is about to: refused, with the way out."""
    lab, run = remembered()
    uri = outputs_uri(lab, run, "m2")
    shard = lab.store.shard_of(run.id)
    life = Life(run.id.action("m2"), run.incarnation)
    lab.store.note_garbage(shard, {life: (uri.rpartition("/")[0],)})
    with pytest.raises(SourceUnusable, match="are being removed from S3"):
        run.recover(name="new")
    lab.store.drop_garbage(shard, [life])
    lab.blobs.delete_prefix(uri.rpartition("/")[0])
    with pytest.raises(SourceUnusable, match="gone from S3"):
        run.recover(name="new")
    second = run.fork(again=["m2"], name="new")
    lab.work()
    assert len(second.result()) == 3


def test_a_call_that_died_goes_on() -> None:
    """The new run holds the source already, so notes of the collector do not stand in the way of the same call."""
    lab, run = remembered()
    first = run.recover(idempotency_key="k")
    shard = lab.store.shard_of(run.id)
    life = Life(run.id.action("m2"), run.incarnation)
    lab.store.note_garbage(shard, {life: (outputs_uri(lab, run, "m2").rpartition("/")[0],)})
    collect(lab.store, Lab(collect_objects=True).settings, lab.blobs)
    assert run.recover(idempotency_key="k").id == first.id
    lab.work()
    assert len(first.result()) == 3


def without(lab: Lab, run: Run[Any], kind: bytes, number: int = 0) -> None:
    """Remove one line of this kind from the archive object of a run."""
    uri = lab.blobs.uri(run_path(run.id, run.incarnation))
    lines = gzip.decompress(lab.blobs.get(uri)).splitlines(keepends=True)
    gone = [line for line in lines if line.startswith(b'{"kind":"%s"' % kind)][number]
    lab.blobs.put(uri, gzip.compress(b"".join(line for line in lines if line != gone)))


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (b"run", r"4 actions and \d+ events can be read, but not its first line, which counts them"),
        (
            b"shared",
            r"4 of 4 actions and (\d+) of \1 events can be read, without 1 part that their specs share",
        ),
        (b"action", r"3 of 4 actions and (\d+) of \1 events can be read\."),
    ],
)
def test_a_damaged_archive_is_no_source(kind: bytes, what: str) -> None:
    """Of which a record is missing, or part of one, or nobody knows whether one is: refused, with what is damaged."""
    lab, run = remembered()
    without(lab, run, kind)
    for make in (run.recover, run.rerun):
        with pytest.raises(SourceUnusable, match=f"cannot be used again as a whole: .* is damaged: {what}"):
            make()


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (b"event", r"4 of 4 actions and \d+ of \d+ events can be read\."),
        (
            b"end",
            r"4 of 4 actions and (\d+) of \1 events can be read, but not some other line, as its last one",
        ),
    ],
)
def test_a_source_needs_no_events(kind: bytes, what: str) -> None:
    """A run all of whose records can be read is recovered, whatever else of its object is damaged, and that is told."""
    lab, run = remembered()
    without(lab, run, kind, 1 if kind == b"event" else 0)
    found = Archive(lab.blobs).read_run(run.id)
    assert found is not None
    assert re.search(what, found.damage)
    again = run.recover()
    lab.work()
    assert len(again.result()) == 3


def test_a_wrong_byte_costs_some_actions() -> None:
    """Of a run of some hundred actions nearly all can be read, whichever byte is wrong."""
    lab = Lab()
    env.client = lab.client
    run = square.map(range(200))
    lab.work()
    lab.clock.advance(timedelta(hours=2))
    collect(lab.store, lab.settings, lab.blobs)
    uri = lab.blobs.uri(run_path(run.id, run.incarnation))
    data = lab.blobs.get(uri)
    for at in range(len(data) // 10, len(data), len(data) // 5):
        lab.blobs.put(uri, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        found = Archive(lab.blobs).read_run(run.id)
        assert found is not None
        assert len(found.actions) >= 120


def test_objects_stay_as_long_as_the_archive_points_to_them() -> None:
    """A run made of another late: when the archive forgets the source, it still remembers the one made of it, whole."""
    lab = Lab(collect_objects=True)
    env.client = lab.client
    broken.add(1)
    first = square.map(range(3), run="source")
    lab.work()
    broken.clear()
    _forget(lab, timedelta(hours=2))
    lab.clock.advance(timedelta(days=20))
    second = first.recover()
    lab.work()
    _forget(lab, timedelta(hours=2))
    assert lab.store.get(second.action) is None
    _forget(lab, timedelta(days=12))
    archive = Archive(lab.blobs)
    assert archive.incarnations(first.id) == []
    assert [text.removesuffix(PAD) for text in second.result()] == ["0", "1", "4"]
    _forget(lab, timedelta(days=20))
    _forget(lab, timedelta(days=1))
    assert archive.incarnations(second.id) == []
    assert not any(lab.store.holds(shard) for shard in range(lab.store.shards))
    assert lab.blobs.delete_prefix(lab.blobs.uri("_runs")) == 0


def _forget(lab: Lab, waited: timedelta) -> None:
    """Let time pass, and the collector come by."""
    lab.clock.advance(waited)
    for _ in range(3):
        collect(lab.store, lab.settings, lab.blobs)

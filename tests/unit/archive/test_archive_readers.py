"""Whatever reads goes on into the archive, and says so."""

from __future__ import annotations

from datetime import timedelta

import pytest
import structlog

from reconciler import TaskEnvironment
from reconciler.api.action import ActionId, RunId
from reconciler.api.errors import ActionFailed, ActionNotFound, ArchiveDamaged, BlobUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.client import Client
from reconciler.client.archived import ArchivedRuns
from reconciler.client.incarnation import OneIncarnation
from reconciler.stores.base import AbortOutcome
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R42")
env = TaskEnvironment("archive")


@env.task
def square(n: int) -> int:
    """Multiply a number by itself; 13 is refused."""
    if n == 13:
        raise ValueError("unlucky")
    return n * n


@pytest.fixture
def lab() -> Lab:
    """An installation, which the tasks are submitted to."""
    lab = Lab(inline_limit=1)
    env.client = lab.client
    return lab


def forgotten(lab: Lab) -> None:
    """Let all runs end, and let the collector archive and forget them."""
    lab.work()
    lab.clock.advance(timedelta(hours=2))
    collect(lab.store, lab.settings, lab.blobs)
    assert lab.client.runs() == []


def test_everything_is_read_from_the_archive(lab: Lab) -> None:
    """Record, list, counts, events, attempts, outputs and result are those of before; only `archived` differs."""
    run = square.map([1, 2, 13], keep_failures=True)
    lab.work()
    names = [record.id for record in lab.client.actions(run.id)]
    before = {
        name: (lab.get(name).status, lab.client.events(name), lab.client.attempts(name)) for name in names
    }
    counts, children = lab.client.counts(run.id), [r.id for r in lab.client.actions(run.id, parent="a0")]
    forgotten(lab)
    client = Client(lab.store, lab.blobs, lab.messenger, lab.settings)
    assert [record.id for record in client.actions(run.id)] == names
    assert [record.id for record in client.actions(run.id, parent="a0")] == children
    assert [r.id.action for r in client.actions(run.id, after="a0/m1")] == ["m2"]
    assert client.counts(run.id) == counts
    for name, (status, events, attempts) in before.items():
        record = client.get(name)
        assert (record.archived, record.status) == (True, status)
        assert client.events(name) == events
        assert client.events(name, after=1) == events[1:]
        assert client.attempts(name) == attempts
        assert list(client.watch(name)) == events
    assert client.result(run.id.action("m1")) == 4
    with pytest.raises(ActionFailed, match="unlucky"):
        client.result(run.id.action("m2"))
    assert [type(each) for each in run.outcomes()] == [int, int, ActionFailed]
    assert run.phase is ActionPhase.SUCCEEDED
    assert client.abort(run.action) is AbortOutcome.ENDED


def test_a_handle_reads_its_own_run(lab: Lab) -> None:
    """Where a later run has the name, a handle goes on into the archive for the one it was given for."""
    first = square.submit((2,), run="nightly")
    forgotten(lab)
    second = square.submit((3,), run="nightly")
    lab.work()
    assert (first.result(), second.result()) == (4, 9)
    assert lab.get(first.action).metadata.incarnation == second.incarnation
    assert not lab.client.get(first.action).archived
    assert first.incarnation != second.incarnation
    forgotten(lab)
    assert (first.result(), second.result()) == (4, 9)
    assert lab.client.result(first.action) == 9


def test_what_was_never_there_is_not_found(lab: Lab) -> None:
    """Neither a run nor an action of an archived run is made up; a child whose run lives is not looked for."""
    run = square.delay(2)
    forgotten(lab)
    missing = RunId("default", "development", "never")
    for call in (
        lambda: lab.client.get(run.id.action("m7")),
        lambda: lab.client.get(missing.action("a0")),
        lambda: lab.client.counts(missing),
        lambda: lab.client.events(missing.action("a0")),
        lambda: lab.client.abort(missing.action("a0")),
        lambda: list(lab.client.actions(missing)),
    ):
        with pytest.raises(ActionNotFound):
            call()


def test_without_an_archive_nothing_is_asked(lab: Lab) -> None:
    """RECONCILER_ARCHIVE=0: what is forgotten is not found, S3 is not asked, and the sentence says so."""
    run = square.delay(2)
    forgotten(lab)
    none = Client(lab.store, lab.blobs, lab.messenger, Lab(archive=timedelta(0)).settings)
    for call in (
        lambda: none.get(run.action),
        lambda: none.counts(run.id),
        lambda: list(none.actions(run.id)),
        lambda: OneIncarnation(none, run.action, run.incarnation).get(run.action),
    ):
        with pytest.raises(ActionNotFound, match="RECONCILER_ARCHIVE is 0 here"):
            call()
    with pytest.raises(ActionNotFound) as error:
        lab.client.get("never")
    assert "RECONCILER_ARCHIVE" not in str(error.value)


def test_damage_is_told_and_the_rest_is_read(lab: Lab) -> None:
    """Of a damaged run an action that cannot be read is told as such, never as one that never was; others are read."""
    runs = [square.map(range(1200)), square.map(range(2))]
    forgotten(lab)
    uri = next(one.uri for one in lab.blobs.find(lab.blobs.uri("_archive/runs")) if runs[0].id.run in one.uri)
    data = lab.blobs.get(uri)
    lab.blobs.put(uri, data[: len(data) // 2])
    with structlog.testing.capture_logs() as logs:
        assert 0 < lab.client.counts(runs[0].id).total < 1201
    assert [line["run"] for line in logs if line["event"] == "archive.damaged"] == [str(runs[0].id)]
    assert lab.client.get(runs[0].id.action("m0")).archived
    with pytest.raises(ArchiveDamaged, match="Restore it from a copy"):
        lab.client.get(runs[0].id.action("m1199"))
    assert lab.client.get(runs[1].id.action("m1")).archived


def test_a_server_that_is_away_is_not_taken_for_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """While S3 does not answer nobody says that an action never was."""

    def away(*_: object, **__: object) -> None:
        raise BlobUnavailable("S3 does not answer; start it")

    monkeypatch.setattr(lab.blobs, "find", away)
    with pytest.raises(BlobUnavailable):
        lab.client.get(ActionId("default", "development", "never", "a0"))


def test_a_run_is_read_once_for_several_questions(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record, events and outputs of an archived action take one look at the archive."""
    run = square.delay(2)
    forgotten(lab)
    asked: list[str] = []
    get, find = lab.blobs.get, lab.blobs.find
    monkeypatch.setattr(lab.blobs, "get", lambda uri, **given: [asked.append(uri), get(uri, **given)][1])
    monkeypatch.setattr(lab.blobs, "find", lambda uri, **given: [asked.append(uri), find(uri, **given)][1])
    lab.client.get(run.action)
    lab.client.events(run.action)
    lab.client.attempts(run.action)
    assert len(asked) == 2
    assert run.result() == 4
    assert ArchivedRuns(None).find(run.id) is None

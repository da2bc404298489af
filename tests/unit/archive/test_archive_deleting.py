"""Runs that shall not be remembered: deleted from the archive on request."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from deleting_support import PAD, a_lab, broken, collected, ended, objects_of, remembered, square, swept

from reconciler.api.action import RunId
from reconciler.api.errors import (
    ActionNotFound,
    ArchiveTooNew,
    BlobUnavailable,
    InvalidName,
    InvalidSpec,
    SourceUnusable,
)
from reconciler.archive import index
from reconciler.archive.archive import Archive
from reconciler.archive.compaction import compact
from reconciler.archive.deleting import Deleter
from reconciler.archive.index import Group, Row, write_rows
from reconciler.archive.layout import EVENTS
from reconciler.archive.requests import FIRST, LAST, DeleteRequest, requests_in, store_request
from reconciler.client import Run
from reconciler.stores.holds import RunLife
from reconciler.sweeps.archive import archive_all
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab
from worker.dashboard import detail

pytestmark = pytest.mark.rule("R91")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """The engine in memory."""
    yield from a_lab()


def acme(lab: Lab, run: str, domain: str = "development") -> Run[Any]:
    """Submit a run of another project."""
    spec = square.spec((1,), {})
    return lab.client.submit(msgspec.structs.replace(spec, run_name=run, project="acme", domain=domain))


def test_a_run_is_deleted(lab: Lab) -> None:
    """Its object, its line in the index and the objects it alone names go; others stay; a trace says who, when, what."""
    mine, other = ended(lab, "mine", "other")
    assert objects_of(lab, mine)
    plan = lab.client.history.plan_delete(mine.id, reason="his right")
    assert (plan.archived, plan.actions, plan.stored, plan.held) == (1, 1, 0, 0)
    assert remembered(lab) == {"mine", "other"}, "a plan deletes nothing"
    lab.client.counts(mine.id)  # a client remembers for some seconds what it has read
    done = lab.client.history.delete(plan)
    assert remembered(lab) == {"other"}
    with pytest.raises(ActionNotFound):
        lab.client.get(mine.action)
    with pytest.raises(ActionNotFound):
        lab.client.history.plan_delete(mine.id)
    swept(lab)
    swept(lab)
    assert objects_of(lab, mine) == []
    assert other.result() == f"4{PAD}"
    [trace] = lab.client.history.deleted("default")
    assert trace == done
    assert (trace.runs, trace.by, trace.reason) == (
        (f"{mine.id}@{mine.incarnation}",),
        lab.client.who(),
        "his right",
    )
    assert trace.finished_at
    assert lab.client.history.deleted("another") == []
    assert list(requests_in(lab.blobs)) == [], "it is carried out no more"


def test_one_of_several_of_its_name(lab: Lab) -> None:
    """By its incarnation; by the name alone all of them go."""
    [first] = ended(lab, "nightly")
    [second] = ended(lab, "nightly")
    history = lab.client.history
    assert history.plan_delete(first.id).archived == 2
    history.delete(history.plan_delete(first.id, incarnation=first.incarnation))
    assert Archive(lab.blobs).incarnations(first.id) == [second.incarnation]
    assert second.result() == f"4{PAD}"
    swept(lab)
    assert second.result() == f"4{PAD}"


def test_a_run_that_is_alive_or_never_was(lab: Lab) -> None:
    """Refused, with what to do; an earlier one of the name can be deleted all the same."""
    [old] = ended(lab, "nightly")
    square.submit((3,), run="nightly")
    history = lab.client.history
    with pytest.raises(InvalidSpec, match=r"alive: 1 of its 1 actions .*`reconciler abort .*--incarnation"):
        history.plan_delete(old.id)
    with pytest.raises(ActionNotFound):
        history.plan_delete(RunId("default", "development", "never"))
    history.delete(history.plan_delete(old.id, incarnation=old.incarnation))
    assert remembered(lab) == set()


def test_a_request_that_comes_while_the_archive_is_written(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two steps of who archives: the run is not remembered afterwards, nor are others lost."""
    for calls in range(24):
        mine, other = square.submit((2,), run=f"mine{calls}"), square.submit((3,), run=f"other{calls}")
        lab.work()
        plan = lab.client.history.plan_delete(mine.id)
        lab.clock.advance(timedelta(minutes=61))
        with monkeypatch.context() as patch:
            _called_at(lab, patch, calls, lambda plan=plan: lab.client.history.delete(plan))  # type: ignore[misc]  # a lambda
            before = lab.store.now() - int(lab.settings.retention.total_seconds() * 1000)
            archive_all(lab.store, lab.blobs, lab.settings, before)
        if len(lab.client.history.deleted()) == calls:  # it came in no call of the pass
            lab.client.history.delete(plan)
        told = remembered(lab)
        assert (f"mine{calls}" in told, f"other{calls}" in told) == (False, True), calls
        assert Archive(lab.blobs).incarnations(mine.id) == [], calls
        assert other.result() == f"9{PAD}"


def _called_at(lab: Lab, patch: pytest.MonkeyPatch, calls: int, call: Callable[[], object]) -> None:
    """Have something done at the so-and-so-manyth call of S3, which only one thread may call."""
    left = calls
    patch.setattr(index, "_AT_ONCE", 1)
    names = ("put", "get", "find", "delete", "delete_prefix", "stat")
    inner = {name: getattr(lab.blobs, name) for name in names}

    def watched(name: str) -> Any:
        def called(*args: Any, **given: Any) -> Any:
            nonlocal left
            left -= 1
            if left == -1:
                call()
            return inner[name](*args, **given)

        return called

    for name in names:
        patch.setattr(lab.blobs, name, watched(name))


def test_a_compaction_and_two_requests_bring_nothing_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes lines of the index which he had read before leaves out what was asked to be deleted meanwhile."""
    for calls in range(6):
        rows = [_archived_line(number, calls) for number in range(30)]
        for row in rows:
            write_rows(lab.blobs, [row])
        plans = [_plan(lab, row) for row in rows[:2]]
        with monkeypatch.context() as patch:
            # the first reads lines; then the other two come, from beginning to end
            _called_at(lab, patch, 2 + calls, lambda: compact(lab.blobs, {("default", "2026-11-27")}))
            _called_at(lab, patch, calls, lambda plan=plans[1]: lab.client.history.delete(plan))  # type: ignore[misc]  # a lambda
            lab.client.history.delete(plans[0])
        assert remembered(lab) == {row.run for row in rows[2:]}, calls
        for one in lab.blobs.find(lab.blobs.uri("_archive/index")):
            lab.blobs.delete([one.uri])
        with monkeypatch.context() as patch:
            for row in rows:
                write_rows(lab.blobs, [row])
            plan = _plan(lab, rows[2])
            _called_at(lab, patch, 3 + 10 * calls, lambda plan=plan: lab.client.history.delete(plan))  # type: ignore[misc]  # a lambda
            compact(lab.blobs, {("default", "2026-11-27")})
        compact(
            lab.blobs, {("default", "2026-11-27")}
        )  # the first joins nothing when the request took a part from it
        assert remembered(lab) == {row.run for row in rows[3:]}, calls
        for one in lab.blobs.find(lab.blobs.uri("_archive/index")):
            lab.blobs.delete([one.uri])


def _archived_line(number: int, calls: int) -> Row:
    """Return a line of a run whose object is not needed."""
    ended_at = 1_795_780_800_000 + number  # on 2026-11-27
    return Row(
        project="default",
        domain="development",
        run=f"run{number}-{calls}",
        incarnation="abc",
        created_at=ended_at,
        ended_at=ended_at,
        phase="succeeded",
        task="deleting.square",
        actions=1,
        groups=(Group("deleting.square", "succeeded", "", 1),),
    )


def _plan(lab: Lab, row: Row) -> DeleteRequest:
    """What `plan_delete` makes of it."""
    return DeleteRequest(
        project=row.project,
        domain=row.domain,
        runs=(f"{row.id}@{row.incarnation}",),
        since="2026-11-27",
        until="2026-11-27",
        at=lab.store.now(),
        archived=1,
    )


@pytest.mark.parametrize("wrong", ["\0", "a/b", "../x", "x" * 80])
def test_an_incarnation_that_is_none(lab: Lab, wrong: str) -> None:
    """What no run is told apart by is refused before any server is asked; another one is not found, by its name."""
    [run] = ended(lab, "mine")
    for read in (
        lambda: lab.client.history.plan_delete(run.id, incarnation=wrong),
        lambda: Archive(lab.blobs).read_run(run.id, wrong),
        lambda: detail.run_document(lab.client, run.id, wrong, read_only=True),
    ):
        with pytest.raises(InvalidName, match="incarnation"):
            read()
    with pytest.raises(ActionNotFound, match="mine has the incarnation zzzz"):
        lab.client.history.plan_delete(run.id, incarnation="zzzz")


def test_a_project_is_deleted(lab: Lab) -> None:
    """All its runs that have ended, archived or not, also one the index has lost; other projects and domains stay."""
    theirs = acme(lab, "theirs")
    kept = acme(lab, "kept", "production")
    ended(lab, "mine")
    lost = acme(lab, "lost")
    lab.work()
    swept(lab)
    for one in lab.blobs.find(lab.blobs.uri("_archive/index/acme")):
        lab.blobs.delete([one.uri])
    write_rows(lab.blobs, [_row(lab, run) for run in (theirs, kept)])
    late = acme(lab, "late")
    lab.work()
    alive = acme(lab, "alive")
    lab.clock.advance(1)
    plan = lab.client.history.plan_delete_project("acme", domain="development")
    assert (plan.archived, plan.stored, plan.alive, plan.actions) == (2, 1, 1, 3)
    assert lab.client.history.delete(plan).finished_at
    assert remembered(lab, "acme") == {"kept"}
    assert Archive(lab.blobs).incarnations(lost.id) == []
    assert lab.store.counts(late.id) is None
    collected(lab, timedelta(minutes=62))
    assert remembered(lab, "acme") == {"kept"}
    assert remembered(lab) == {"mine"}
    assert lab.store.get(alive.action) is not None
    lab.work()
    collected(lab, timedelta(minutes=62))
    assert remembered(lab, "acme") == {"kept", "alive"}
    [trace] = lab.client.history.deleted()
    assert trace.finished_at
    assert [objects_of(lab, run) for run in (theirs, lost, late)] == [[], [], []]
    assert objects_of(lab, kept)


def _row(lab: Lab, run: Run[Any]) -> Row:
    """Return a line of the index for an archived run."""
    found = Archive(lab.blobs).read_run(run.id)
    assert found is not None
    return Row(
        project=run.id.project,
        domain=run.id.domain,
        run=run.id.run,
        incarnation=found.incarnation,
        created_at=found.created_at,
        ended_at=found.ended_at,
        phase="succeeded",
        task="deleting.square",
        actions=1,
        groups=(Group("deleting.square", "succeeded", "", 1),),
    )


def half_failed(lab: Lab, name: str) -> Run[Any]:
    """Make an archived map, of which one member has failed."""
    broken.add(1)
    run = square.map(range(3), run=name)
    lab.work()
    broken.clear()
    swept(lab)
    return run


def recovered(lab: Lab) -> tuple[Run[Any], Run[Any]]:
    """Make an archived map, and the run that recovered what had failed of it."""
    run = half_failed(lab, "nightly")
    second = run.recover()
    lab.work()
    return run, second


def test_a_source_of_others(lab: Lab) -> None:
    """What a run was made of it needs stays until that one has gone; then the rest of the deleted one goes."""
    run, second = recovered(lab)
    plan = lab.client.history.plan_delete(run.id)
    assert plan.held == 1
    lab.client.history.delete(plan)
    swept(lab)
    assert [text.removesuffix(PAD) for text in second.result()] == ["0", "1", "4"]
    with pytest.raises(ActionNotFound):
        lab.client.recover(run.id)
    lab.client.history.delete(lab.client.history.plan_delete(second.id))
    for _ in range(3):
        swept(lab, timedelta(hours=1))
    assert objects_of(lab, run) == objects_of(lab, second) == []


def test_a_run_that_is_made_of_it_meanwhile(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recover comes between any two steps of a deletion: refused, or the new run has all it needs. Never half."""
    outcomes = set()
    for calls in range(60):
        run = half_failed(lab, f"run{calls}")
        plan = lab.client.history.plan_delete(run.id)
        made = _recovered_at(lab, monkeypatch, run, plan, calls)
        lab.work()
        swept(lab, timedelta(minutes=1))
        for new in made:
            assert [text.removesuffix(PAD) for text in new.result()] == ["0", "1", "4"]
        outcomes.add(len(made))
    assert outcomes == {0, 1}


def _recovered_at(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, run: Run[Any], plan: Any, calls: int
) -> list[Run[Any]]:
    made: list[Run[Any]] = []

    def recover() -> None:
        with suppress(SourceUnusable, ActionNotFound):
            made.append(run.recover())

    with monkeypatch.context() as patch:
        _called_at(lab, patch, calls, recover)
        lab.client.history.delete(plan)
        collect(lab.store, lab.settings, lab.blobs)
    return made


class Dying:
    """Objects of a process that dies at its so-and-so-manyth write."""

    def __init__(self, inner: Any, calls: int, *, after: bool) -> None:
        self._inner = inner
        self._left = calls
        self._after = after

    def __getattr__(self, name: str) -> Any:  # any verb
        found = getattr(self._inner, name)
        if name not in {"put", "delete"}:
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
@pytest.mark.parametrize("calls", range(7))
def test_whoever_deletes_may_die_anywhere(lab: Lab, calls: int, *, after: bool) -> None:
    """Once the request is stored the collector finishes it: nothing of the run is left, but a trace."""
    mine, other = ended(lab, "mine", "other")
    plan = lab.client.history.plan_delete(mine.id)
    client = lab.client.__class__(
        lab.store, Dying(lab.blobs, calls, after=after), lab.messenger, lab.settings
    )
    with suppress(BlobUnavailable):
        client.history.delete(plan)
    asked = bool(calls or after)
    swept(lab)
    assert (remembered(lab), objects_of(lab, mine) == []) == (
        {"other"} if asked else {"mine", "other"},
        asked,
    )
    assert other.result() == f"4{PAD}"
    assert [trace.runs for trace in lab.client.history.deleted()] == ([plan.runs] if asked else [])
    assert all(trace.finished_at for trace in lab.client.history.deleted())
    if asked:
        swept(lab, timedelta(minutes=1), Dying(lab.blobs, calls, after=after))
        swept(lab)
        assert list(requests_in(lab.blobs)) == []


def test_what_comes_back_goes_again(lab: Lab) -> None:
    """A collector that was stopped while it wrote the run, or its line, writes it after the deletion: it does not stay."""
    mine, other = ended(lab, "mine", "other")
    uri = lab.blobs.uri(f"_archive/runs/{mine.id}@{mine.incarnation}.ndjson.gz")
    data, rows = lab.blobs.get(uri), [_row(lab, run) for run in (mine, other)]
    lab.client.history.delete(lab.client.history.plan_delete(mine.id))
    lab.blobs.put(uri, data)
    write_rows(lab.blobs, rows)
    assert remembered(lab) == {"mine", "other"}
    swept(lab, timedelta(minutes=1))
    assert remembered(lab) == {"other"}
    assert objects_of(lab, mine) == []


def test_a_damaged_run_can_be_deleted(lab: Lab) -> None:
    """Also where nobody can tell when it ended or what it named: its object, its line, and what is in its folders go."""
    mine, other = ended(lab, "mine", "other")
    assert objects_of(lab, mine)
    lab.blobs.put(lab.blobs.uri(f"_archive/runs/{mine.id}@{mine.incarnation}.ndjson.gz"), b"damaged")
    plan = lab.client.history.plan_delete(mine.id)
    assert (plan.archived, plan.actions, plan.damaged, plan.since) == (1, 1, 1, plan.until)
    index = {
        one.uri: lab.blobs.get(one.uri) for one in lab.blobs.find(lab.blobs.uri("_archive/index/default"))
    }
    for uri in index:
        lab.blobs.put(uri, b"damaged")
    worse = lab.client.history.plan_delete(mine.id)
    assert (worse.archived, worse.actions, worse.since, worse.until) == (1, 0, FIRST, LAST)
    for uri, lines in index.items():
        lab.blobs.put(uri, lines)
    done = lab.client.history.delete(plan)
    assert (remembered(lab), done.damaged, bool(done.finished_at)) == ({"other"}, 1, True)
    swept(lab, timedelta(minutes=1))
    assert (objects_of(lab, mine), other.result()) == ([], f"4{PAD}")
    assert lab.client.history.deleted() == [done]


@pytest.mark.parametrize("by_name", [False, True])
def test_of_a_run_whose_object_is_gone_all_goes(lab: Lab, *, by_name: bool) -> None:
    """A rule of the bucket, or somebody, has deleted it: what lies in its folders goes, and the trace says so."""
    mine, other, *_ = ended(lab, "mine", "other", "minever")
    assert objects_of(lab, mine)
    lab.blobs.delete([lab.blobs.uri(f"_archive/runs/{mine.id}@{mine.incarnation}.ndjson.gz")])
    with pytest.raises(ActionNotFound, match=r"Of a run that `history` alone shows"):
        lab.client.get(mine.action)
    history = lab.client.history
    plan = history.plan_delete(mine.id) if by_name else history.plan_delete_project("default")
    assert (plan.archived, plan.actions, plan.damaged) == ((1, 1, 1) if by_name else (3, 3, 1))
    assert plan.lost == (f"{mine.id}@{mine.incarnation}",)
    done = history.delete(plan)
    assert (done.damaged, bool(done.finished_at)) == (1, True)
    assert remembered(lab) == ({"other", "minever"} if by_name else set())
    swept(lab, timedelta(minutes=1))
    assert objects_of(lab, mine) == []
    assert bool(objects_of(lab, other)) is by_name
    with pytest.raises(ActionNotFound):
        history.plan_delete(mine.id)


def test_who_deletes_may_die_before_the_line_goes(lab: Lab) -> None:
    """Only what was lost when it was asked is looked for by its place: it costs a thousand requests a run."""
    mine, other = ended(lab, "mine", "other")
    lab.blobs.delete([lab.blobs.uri(f"_archive/runs/{mine.id}@{mine.incarnation}.ndjson.gz")])
    plan = lab.client.history.plan_delete_project("default")
    for calls in range(4, 8):
        client = lab.client.__class__(
            lab.store, Dying(lab.blobs, calls, after=True), lab.messenger, lab.settings
        )
        with suppress(BlobUnavailable):
            client.history.delete(plan)
    swept(lab)
    assert (objects_of(lab, mine), objects_of(lab, other), remembered(lab)) == ([], [], set())
    [trace] = lab.client.history.deleted()
    assert (trace.damaged, bool(trace.finished_at)) == (1, True)


def test_of_a_cut_run_all_goes(lab: Lab) -> None:
    """Also the objects of those actions that cannot be read any more."""
    run = square.map(range(30), run="mine")
    lab.work()
    swept(lab)
    assert objects_of(lab, run)
    uri = lab.blobs.uri(f"_archive/runs/{run.id}@{run.incarnation}.ndjson.gz")
    lines = gzip.decompress(lab.blobs.get(uri)).splitlines(keepends=True)
    lab.blobs.put(uri, gzip.compress(b"".join(lines[:9])))
    assert lab.client.history.delete(lab.client.history.plan_delete(run.id)).damaged == 1
    swept(lab, timedelta(minutes=1))
    assert objects_of(lab, run) == []


def test_a_damaged_source_of_others(lab: Lab) -> None:
    """What others were made of stays as long as they do, also where the source cannot be read."""
    run, second = recovered(lab)
    lab.blobs.put(lab.blobs.uri(f"_archive/runs/{run.id}@{run.incarnation}.ndjson.gz"), b"damaged")
    lab.client.history.delete(lab.client.history.plan_delete(run.id))
    swept(lab, timedelta(minutes=1))
    assert [text.removesuffix(PAD) for text in second.result()] == ["0", "1", "4"]


def test_a_run_of_a_newer_release_stays(lab: Lab) -> None:
    """Only that release knows what is its: refused alone; of a project the others go, and the request stands."""
    mine, _ = ended(lab, "mine", "other")
    uri = lab.blobs.uri(f"_archive/runs/{mine.id}@{mine.incarnation}.ndjson.gz")
    whole = lab.blobs.get(uri)
    lab.blobs.put(uri, gzip.compress(b'{"kind":"run","version":99}\n'))
    with pytest.raises(ArchiveTooNew, match="Install that one to read it, or to delete it"):
        lab.client.history.plan_delete(mine.id)
    done = lab.client.history.delete(lab.client.history.plan_delete_project("default"))
    swept(lab, timedelta(minutes=1))
    assert (remembered(lab), done.too_new, done.finished_at) == ({"mine"}, 1, 0)
    assert objects_of(lab, mine)
    lab.blobs.put(uri, whole)
    swept(lab, timedelta(minutes=1))
    assert (remembered(lab), objects_of(lab, mine)) == (set(), [])
    [trace] = lab.client.history.deleted()
    assert (trace.too_new, bool(trace.finished_at)) == (0, True)


def test_what_an_index_has_lost_and_what_is_damaged_is_counted(lab: Lab) -> None:
    """The trace counts what lies in the archive, not what its index says of it."""
    mine, other = ended(lab, "mine", "other")
    lab.blobs.put(lab.blobs.uri(f"_archive/runs/{mine.id}@{mine.incarnation}.ndjson.gz"), b"damaged")
    for one in lab.blobs.find(lab.blobs.uri("_archive/index")):
        lab.blobs.delete([one.uri])
    plan = lab.client.history.plan_delete_project("default")
    assert (plan.archived, plan.stored, plan.actions) == (2, 0, 1)
    done = lab.client.history.delete(plan)
    assert (done.damaged, bool(done.finished_at)) == (1, True)
    assert [Archive(lab.blobs).incarnations(run.id) for run in (mine, other)] == [[], []]


def test_a_plan_tells_what_its_deletion_will(lab: Lab) -> None:
    """Of a project: what is damaged, or gone from the archive, and what stays as a newer release archived it."""
    runs = ended(lab, *(f"r{n}" for n in range(6)))
    uris = [lab.blobs.uri(f"_archive/runs/{run.id}@{run.incarnation}.ndjson.gz") for run in runs]
    lab.blobs.delete([uris[0]])
    lab.blobs.put(uris[1], b"damaged")
    lab.blobs.put(uris[2], lab.blobs.get(uris[2])[:-9])
    lab.blobs.put(uris[3], gzip.compress(b'{"kind":"run","version":99}\n'))
    plan = lab.client.history.plan_delete_project("default")
    assert (plan.archived, plan.damaged, plan.too_new, plan.actions) == (6, 3, 1, 5)
    done = lab.client.history.delete(plan)
    assert (done.archived, done.damaged, done.too_new) == (plan.archived, plan.damaged, plan.too_new)
    assert remembered(lab) == {"r3"}


@pytest.mark.parametrize("by_name", [False, True])
def test_who_was_refused_makes_nothing_of_a_run(lab: Lab, *, by_name: bool) -> None:
    """He held it for two minutes, but there is no run that its objects would stay for."""
    [mine] = ended(lab, "mine")
    with pytest.raises(SourceUnusable, match="nothing is to be recovered"):
        mine.recover()
    assert lab.store.holders(RunLife(mine.id, mine.incarnation))
    history = lab.client.history

    def held() -> int:
        return (history.plan_delete(mine.id) if by_name else history.plan_delete_project("default")).held

    assert held() == 0
    mine.rerun()
    assert held() == 1
    lab.work()
    swept(lab)
    assert (lab.client.runs(), held()) == ([], 1), "an archived run needs it, too"


def test_what_was_told_apart_is_counted(lab: Lab) -> None:
    """Two runs had one incarnation, as a client was away between question and submission: both go by it, or with all."""
    [mine] = ended(lab, "mine")
    uri = lab.blobs.uri(f"_archive/runs/{mine.id}@{mine.incarnation}.ndjson.gz")
    apart = lab.blobs.uri(f"_archive/runs/{mine.id}@{mine.incarnation}~123.ndjson.gz")
    lab.blobs.put(apart, lab.blobs.get(uri))
    for incarnation in ("", mine.incarnation):
        assert lab.client.history.plan_delete(mine.id, incarnation=incarnation).archived == 2
    assert lab.client.history.plan_delete(mine.id, incarnation=f"{mine.incarnation}~123").archived == 1
    assert lab.client.history.plan_delete_project("default").archived == 2
    lab.client.history.delete(lab.client.history.plan_delete(mine.id, incarnation=mine.incarnation))
    assert Archive(lab.blobs).incarnations(mine.id) == []


def test_what_is_archived_and_still_stored_is_one_run(lab: Lab) -> None:
    """Between a collector's mark and its forgetting it is in both places, and counted once."""
    run = square.map(range(3), run="mine")
    lab.work()
    lab.clock.advance(timedelta(minutes=61))
    archive_all(lab.store, lab.blobs, lab.settings, lab.store.now())
    history = lab.client.history
    for plan in (history.plan_delete(run.id), history.plan_delete_project("default")):
        assert (plan.archived, plan.stored, plan.actions) == (1, 0, 4)
    assert history.delete(history.plan_delete(run.id)).finished_at
    assert (lab.store.counts(run.id), remembered(lab)) == (None, set())


def test_who_reads_while_it_is_deleted_keeps_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that had read the archive before does not bring the run back into the client's memory of ten seconds."""
    [mine] = ended(lab, "mine")
    plan = lab.client.history.plan_delete(mine.id)
    read = Archive.read_run

    def late(archive: Archive, run: RunId, incarnation: str = "") -> Any:
        found = read(archive, run, incarnation)
        monkeypatch.undo()
        lab.client.history.delete(plan)
        return found

    monkeypatch.setattr(Archive, "read_run", late)
    assert lab.client.get(mine.action).archived
    with pytest.raises(ActionNotFound):
        lab.client.get(mine.action)


def test_much_is_left_to_the_collector(lab: Lab) -> None:
    """More notes than Redis should hold at once are not written by the client: the request stands, and is carried out."""
    mine, _ = ended(lab, "mine", "other")
    plan = lab.client.history.plan_delete_project("default")
    store_request(lab.blobs, plan)
    assert not Deleter(lab.store, lab.blobs, most=0).carry_out(plan)
    [trace] = lab.client.history.deleted()
    assert (trace.finished_at, remembered(lab)) == (0, {"mine", "other"})
    swept(lab)
    [trace] = lab.client.history.deleted()
    assert (bool(trace.finished_at), remembered(lab), objects_of(lab, mine)) == (True, set(), [])


def test_its_events_go_from_segments(lab: Lab) -> None:
    """Events of runs of days lie in segments, beside those of others, which stay; those of all runs of a name go."""
    long = lab.client.condition("long", run="long")
    shard = lab.store.shard_of(long.id)
    names = (f"mine{number}" for number in range(10_000))
    name = next(n for n in names if lab.store.shard_of(RunId("default", "development", n)) == shard)
    for _ in range(2):
        mine = lab.client.condition("mine", run=name, timeout=timedelta(days=2))
        for _ in range(24):
            lab.settle(limit=timedelta(hours=3))
            lab.clock.advance(timedelta(hours=3))
            collect(lab.store, lab.settings, lab.blobs)
        assert lab.store.get(mine.action) is None
    before = list(_segments(lab))
    plan = lab.client.history.plan_delete(mine.id)
    assert len(plan.runs) == 2
    lab.client.history.delete(plan)
    after = list(_segments(lab))
    assert (f'"{name}"' in "".join(before), f'"{name}"' in "".join(after)) == (True, False)
    assert "".join(after).count('"long"') == "".join(before).count('"long"') > 0


def _segments(lab: Lab) -> Iterator[str]:
    for one in lab.blobs.find(lab.blobs.uri(EVENTS)):
        yield gzip.decompress(lab.blobs.get(one.uri)).decode()

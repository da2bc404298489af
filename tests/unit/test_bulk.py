"""One thing done with many runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reconciler import TaskEnvironment
from reconciler.api.action import RunId
from reconciler.api.errors import (
    ArchiveDamaged,
    ArchiveTooNew,
    BlobNotFound,
    BlobUnavailable,
    InvalidName,
    InvalidSpec,
)
from reconciler.api.phase import ActionPhase
from reconciler.archive.bulk import BulkVerb, Done, write_plan
from reconciler.archive.packing import pack
from reconciler.archive.query import Question
from reconciler.archive.requests import FIRST, LAST
from reconciler.client import Run
from reconciler.client.choosing import stored_runs
from reconciler.stores.holds import RunLife
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R92")
env = TaskEnvironment("bulk")
called: list[int] = []
broken: set[int] = set()


@env.task()
def square(n: int) -> int:
    """Square a number, but none that is broken."""
    called.append(n)
    if n in broken:
        raise ValueError(n)
    return n * n


@env.task()
def other(n: int) -> int:
    """Do something else."""
    return n


@pytest.fixture
def lab() -> Iterator[Lab]:
    """The engine in memory."""
    called.clear()
    broken.clear()
    made = Lab()
    env.client = made.client
    yield made
    env.client = None


def asked(**given: Any) -> Question:
    """Return a question to all days."""
    return Question(project="default", since=FIRST, until=LAST, **given)


def work(lab: Lab) -> None:
    """Run what is to run, with nothing broken any more."""
    lab.work()
    broken.clear()
    called.clear()


def forget(lab: Lab) -> None:
    """Have what ended archived and forgotten."""
    lab.clock.advance(timedelta(hours=2))
    for _ in range(2):
        collect(lab.store, lab.settings, lab.blobs)


def names(lab: Lab, verb: BulkVerb, **given: Any) -> list[str]:
    """Return the names of the runs a query finds."""
    return sorted(row.run for row in lab.client.bulk.find(verb, asked(**given)).rows)


def some_runs(lab: Lab) -> tuple[Run[list[int]], Run[list[int]]]:
    """Two runs of which calls failed; the archive alone has the first one, and one that succeeded; one is alive."""
    broken.update({1, 2})
    old = square.map([0, 1, 2, 3], run="old")
    other.submit((9,), run="fine")
    work(lab)
    forget(lab)
    broken.update({5})
    new = square.map([4, 5], run="new")
    work(lab)
    return old, new


def test_what_is_meant_is_counted_first(lab: Lab) -> None:
    """Stored and archived runs are chosen by the same question, and only those with which something can be done."""
    some_runs(lab)
    square.submit((6,), run="alive", labels={"team": "x"})
    recover, rerun, abort = BulkVerb.RECOVER, BulkVerb.RERUN, BulkVerb.ABORT
    assert names(lab, recover) == ["new", "old"]
    assert names(lab, rerun) == ["fine", "new", "old"]
    assert names(lab, abort) == ["alive"]
    assert names(lab, rerun, task="bulk.other") == ["fine"]
    assert names(lab, recover, code="ValueError", phase="failed", task="bulk.square") == ["new", "old"]
    assert names(lab, recover, code="MaxSystemFailuresExceeded") == []
    assert names(lab, recover, name="o") == ["old"]
    assert names(lab, abort, labels={"team": "x"}) == ["alive"]
    assert names(lab, abort, labels={"team": "y"}) == names(lab, abort, domain="other") == []
    assert names(lab, rerun, phase="failed") == ["new", "old"]
    yesterday = Question(project="default", since=FIRST, until="2000-01-01")
    assert lab.client.bulk.find(abort, yesterday).rows == []


@pytest.mark.parametrize("verb", list(BulkVerb))
def test_an_empty_name_does_not_choose_all(lab: Lab, verb: BulkVerb) -> None:
    """As of a variable that nobody has set: nothing is found, and the error says what to do."""
    with pytest.raises(InvalidSpec, match="name must not be empty: give it a value, or leave it out"):
        lab.client.bulk.find(verb, asked(name=""))


def test_an_unknown_verb_is_no_other_one(lab: Lab) -> None:
    """It is refused with the known ones when runs are sought, planned, and when a stored plan has it; a text is a verb."""
    old, _ = some_runs(lab)
    lives = [RunLife(old.id, old.incarnation)]
    told = r"is no verb for many runs: name one of rerun, recover, abort$"
    for verb in ("abrot", "", "RECOVER"):
        with pytest.raises(InvalidSpec, match=told):
            lab.client.bulk.find(verb, asked())
        with pytest.raises(InvalidSpec, match=told):
            lab.client.bulk.plan(verb, lives, name="wrong")
    assert lab.client.bulk.planned() == []
    square.submit((6,), run="alive")
    assert [row.run for row in lab.client.bulk.find("abort", asked()).rows] == ["alive"]
    bulk = lab.client.bulk.plan("rerun", lives, name="newer")
    write_plan(lab.blobs, msgspec.structs.replace(bulk.plan, name="later", verb="mend"))
    with pytest.raises(InvalidSpec, match=told):
        lab.client.bulk.open("later").carry_out()


def test_a_bulk_takes_runs_by_incarnation(lab: Lab) -> None:
    """A run without it may be another one by then, so nothing is stored; a handle says which one it is."""
    old, new = some_runs(lab)
    for run in (old.id, str(old.id), old.action, None):
        with pytest.raises(InvalidSpec, match=r"a bulk takes .* got (RunId|str|ActionId|NoneType)"):
            lab.client.bulk.plan("rerun", [run], name="wrong")  # type: ignore[list-item]  # refused, as the test says
    assert lab.client.bulk.planned() == []
    planned = lab.client.bulk.plan("rerun", [old, RunLife(new.id, new.incarnation)]).plan
    assert planned.runs == tuple(f"{run.id}@{run.incarnation}" for run in (old, new))


def test_a_plan_of_an_earlier_release_is_read(lab: Lab) -> None:
    """Its question wrote fields that were left out as empty ones; it is not asked again."""
    old, _ = some_runs(lab)
    question = asked(name="", task="", code="")
    lab.client.bulk.plan(BulkVerb.RERUN, [RunLife(old.id, old.incarnation)], name="old", question=question)
    assert lab.client.bulk.open("old").carry_out()[0].made


def test_recover_all_that_failed(lab: Lab) -> None:
    """Of each run what did not succeed runs again, once; the plan says who asked for what, of which runs."""
    old, new = some_runs(lab)
    question = asked(code="ValueError")
    found = lab.client.bulk.find(BulkVerb.RECOVER, question)
    bulk = lab.client.bulk.plan(BulkVerb.RECOVER, found.rows, name="mend", question=question)
    assert (bulk.plan.count, called) == (2, [])
    done = bulk.carry_out()
    lab.work()
    assert sorted(called) == [1, 2, 5]
    assert [each.run for each in done] == [f"{run.id}@{run.incarnation}" for run in (new, old)]
    assert [lab.client.run(each.made, square).result() for each in done] == [[16, 25], [0, 1, 4, 9]]
    opened = lab.client.bulk.open("mend")
    assert opened.plan == bulk.plan
    assert (opened.plan.by, opened.plan.question, opened.plan.verb) == (lab.client.who(), question, "recover")
    assert opened.done() == opened.carry_out() == done


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("calls", range(3))
def test_whoever_goes_on_does_nothing_twice(lab: Lab, calls: int, *, forgotten: bool) -> None:
    """An interrupted bulk that noted nothing goes on: each run is made once, also when it is forgotten."""
    some_runs(lab)
    found = lab.client.bulk.find(BulkVerb.RECOVER, asked())
    bulk = lab.client.bulk.plan(BulkVerb.RECOVER, found.rows, name="mend")
    made: list[Done] = []

    def stop(done: Done) -> None:
        if len(made) == calls:
            raise KeyboardInterrupt
        made.append(done)

    with pytest.raises(KeyboardInterrupt) if calls < 2 else nullcontext():
        bulk.carry_out(stop)
    if forgotten:
        lab.work()
        forget(lab)
    done = lab.client.bulk.open("mend").carry_out()
    lab.work()
    assert sorted(called) == [1, 2, 5]
    assert done[: len(made)] == made
    assert len({each.made for each in done}) == 2
    assert not any(each.refused for each in done)


def test_who_sleeps_while_another_one_goes_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one makes the run and lets go of its source, which is forgotten while the first one is about to read it."""
    other.submit((9,), run="fine")
    work(lab)
    found = lab.client.bulk.find(BulkVerb.RERUN, asked())
    bulk = lab.client.bulk.plan(BulkVerb.RERUN, found.rows, name="twice")
    hold = lab.store.hold

    def slow(*given: Any, **options: Any) -> int:
        monkeypatch.undo()
        end = hold(*given, **options)
        lab.client.bulk.open("twice").carry_out()
        forget(lab)
        return end

    monkeypatch.setattr(lab.store, "hold", slow)
    [done] = bulk.carry_out()
    assert done.made
    assert lab.client.made_into(found.rows[0]) == [RunId.parse(done.made)]


def test_what_is_refused_keeps_no_other(lab: Lab) -> None:
    """A run that is alive, has gone or has another incarnation is told in a sentence; the others are done."""
    _, new = some_runs(lab)
    alive = square.submit((6,), run="alive")
    lives = [
        RunLife(alive.id, alive.incarnation),
        RunLife(new.id, "another"),
        RunLife(new.id, new.incarnation),
    ]
    done = lab.client.bulk.plan(BulkVerb.RERUN, lives).carry_out()
    assert [bool(each.refused) for each in done] == [True, True, False]
    assert "is alive" in done[0].refused
    assert done[2].made


def test_abort_many(lab: Lab) -> None:
    """All live runs of a question are aborted, each with the reason; what ended meanwhile stays."""
    runs = [square.submit((n,), run=f"r{n}") for n in range(3)]
    found = lab.client.bulk.find(BulkVerb.ABORT, asked(name="r"))
    bulk = lab.client.bulk.plan(BulkVerb.ABORT, found.rows, reason="wrong bucket")
    runs[1].abort("mine")
    lab.work()
    done = {each.run.partition("@")[0][-2:]: each.outcome for each in bulk.carry_out()}
    assert done["r1"] == "ended before"
    others = [square.submit((n,), run=f"s{n}") for n in range(2)]
    plan = lab.client.bulk.plan(
        BulkVerb.ABORT, lab.client.bulk.find(BulkVerb.ABORT, asked(name="s")).rows, reason="wrong bucket"
    )
    assert {each.outcome for each in plan.carry_out()} == {"requested"}
    lab.work()
    for run in others:
        record = lab.get(run.action)
        assert record.phase is ActionPhase.ABORTED
        assert record.metadata.deletion is not None
        assert record.metadata.deletion.reason == "wrong bucket"


def test_abort_a_run_with_many_roots(lab: Lab) -> None:
    """All of them are aborted, however many pages they fill."""
    spec = square.spec((1,), {})
    named = (
        msgspec.structs.replace(spec, run_name="many", action_name=f"r{number}") for number in range(501)
    )
    runs = [lab.client.submit(each) for each in named]
    life = RunLife(runs[0].id, runs[0].incarnation)
    [done] = lab.client.bulk.plan(BulkVerb.ABORT, [life]).carry_out()
    lab.settle()
    assert done.outcome == "requested"
    assert lab.client.counts(life.run).phases == {ActionPhase.ABORTED: len(runs)}


def test_it_is_bounded(lab: Lab) -> None:
    """More runs than may be are refused before anything is stored; so is none, and a name that is used."""
    some_runs(lab)
    rows = lab.client.bulk.find(BulkVerb.RERUN, asked()).rows
    with pytest.raises(InvalidSpec, match="1 to 2 runs, and 3 were chosen: narrow"):
        lab.client.bulk.plan(BulkVerb.RERUN, rows, limit=2, name="many")
    with pytest.raises(BlobNotFound, match="there is no bulk many"):
        lab.client.bulk.open("many")
    with pytest.raises(InvalidSpec, match="0 were chosen"):
        lab.client.bulk.plan(BulkVerb.RERUN, [])
    with pytest.raises(InvalidName):
        lab.client.bulk.plan(BulkVerb.RERUN, rows, name="a/b")
    lab.client.bulk.plan(BulkVerb.RERUN, rows, name="many")
    with pytest.raises(InvalidSpec, match="`reconciler bulk resume many`"):
        lab.client.bulk.plan(BulkVerb.RERUN, rows, name="many")


def test_a_plan_that_cannot_be_read(lab: Lab) -> None:
    """Never half a plan: damaged, cut, or of a newer release, it is told."""
    some_runs(lab)
    rows = lab.client.bulk.find(BulkVerb.RERUN, asked()).rows
    lab.client.bulk.plan(BulkVerb.RERUN, rows, name="many")
    uri = lab.blobs.uri("_archive/bulk/default/many/plan.ndjson.gz")
    lab.blobs.put(uri, b"no")
    with pytest.raises(ArchiveDamaged):
        lab.client.bulk.open("many")
    plan = '{"version":%d,"name":"many","project":"default","verb":"rerun","by":{},"at":1,"count":2}'
    lab.blobs.put(uri, pack([plan % 1, '{"run":"a/b/c@d"}']))
    with pytest.raises(ArchiveDamaged, match="1 of 2 runs"):
        lab.client.bulk.open("many")
    lab.blobs.put(uri, pack([plan % 2]))
    with pytest.raises(ArchiveTooNew, match="version 2"):
        lab.client.bulk.open("many")


def test_a_server_that_is_away_is_no_answer_of_a_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 away stops the bulk, and nothing is noted as refused; it goes on once S3 is there."""
    some_runs(lab)
    rows = lab.client.bulk.find(BulkVerb.RECOVER, asked()).rows
    bulk = lab.client.bulk.plan(BulkVerb.RECOVER, rows, name="mend")

    def away(*_: object, **__: object) -> object:
        raise BlobUnavailable("S3 does not answer; start it")

    with monkeypatch.context() as patch:
        patch.setattr(lab.blobs, "get", away)
        with pytest.raises(BlobUnavailable):
            bulk.carry_out()
    assert bulk.done() == []
    assert not any(done.refused for done in bulk.carry_out())


def test_without_an_archive_an_old_bulk_is_refused() -> None:
    """Nobody would know which runs it has made already."""
    lab = Lab(archive=timedelta(0))
    env.client = lab.client
    run = square.submit((1,), run="one")
    lab.work()
    bulk = lab.client.bulk.plan(BulkVerb.RERUN, [RunLife(run.id, run.incarnation)])
    lab.clock.advance(timedelta(hours=2))
    with pytest.raises(InvalidSpec, match="longer than RECONCILER_RETENTION ago"):
        bulk.carry_out()


def test_bulks_are_listed(lab: Lab) -> None:
    """All of a project, last ones first; one that cannot be read is left out."""
    some_runs(lab)
    rows = lab.client.bulk.find(BulkVerb.RERUN, asked()).rows
    for name in ("a", "b", "c"):
        lab.client.bulk.plan(BulkVerb.RERUN, rows, name=name)
        lab.clock.advance(timedelta(seconds=1))
    lab.blobs.put(lab.blobs.uri("_archive/bulk/default/b/plan.ndjson.gz"), b"no")
    assert [bulk.plan.name for bulk in lab.client.bulk.planned()] == ["c", "a"]
    assert lab.client.bulk.planned("other") == []


def test_plans_are_kept_as_long_as_runs(lab: Lab) -> None:
    """After RECONCILER_ARCHIVE a plan goes with its marks; one that cannot be read goes by the time it was written."""
    some_runs(lab)
    rows = lab.client.bulk.find(BulkVerb.RERUN, asked()).rows
    lab.client.bulk.plan(BulkVerb.RERUN, rows, name="old").carry_out()
    lab.blobs.put(lab.blobs.uri("_archive/bulk/default/bad/plan.ndjson.gz"), b"no")
    lab.clock.advance(timedelta(days=20))
    lab.client.bulk.plan(BulkVerb.RERUN, rows, name="young")
    collect(lab.store, lab.settings, lab.blobs)
    assert {bulk.plan.name for bulk in lab.client.bulk.planned()} == {"old", "young"}
    lab.clock.advance(timedelta(days=11))
    collect(lab.store, lab.settings, lab.blobs)
    assert [bulk.plan.name for bulk in lab.client.bulk.planned()] == ["young"]
    written = (one.uri.rpartition("/")[0] for one in lab.blobs.find(lab.blobs.uri("_archive/bulk")))
    assert {uri.rpartition("/")[2] for uri in written} == {"bad", "young"}
    lab.clock.advance(timedelta(days=366 * 100))
    collect(lab.store, lab.settings, lab.blobs)
    assert lab.blobs.find(lab.blobs.uri("_archive/bulk")) == []


def test_runs_are_chosen_in_few_round_trips(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The roots of many runs are read together; only of a run of several levels all is listed, and the rows are the same."""
    runs = [square.submit((number,), run=f"many{number}") for number in range(20)]
    square.map(range(3), run="tree")
    lab.work()
    listed: list[Any] = []
    inner = lab.store.list_actions
    monkeypatch.setattr(lab.store, "list_actions", lambda *a, **g: (listed.append(a), inner(*a, **g))[1])
    question = Question(project="default", since=FIRST, until=LAST)
    rows = {row.run: row for row in stored_runs(lab.store, question)}
    assert listed == []
    assert rows.keys() == {"tree", *(run.id.run for run in runs)}
    whole = {
        row.run: row for row in stored_runs(lab.store, msgspec.structs.replace(question, task=square.name))
    }
    for name, row in rows.items():
        assert (row.ended_at, row.phase, row.actions) == (
            whole[name].ended_at,
            whole[name].phase,
            whole[name].actions,
        )

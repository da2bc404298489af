"""Runs that ended and are still stored: deleted on request, they are forgotten at once and never archived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from deleting_support import PAD, a_lab, broken, collected, objects_of, remembered, square, swept

from reconciler.api.action import RunId
from reconciler.api.errors import ActionNotFound, SourceUnusable
from reconciler.archive.archive import Archive
from reconciler.archive.bulk import BulkVerb
from reconciler.archive.deleting import Deleter
from reconciler.archive.requests import store_request
from reconciler.client import Run
from reconciler.stores.holds import RunLife
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R91")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """The engine in memory."""
    yield from a_lab()


def test_what_ended_and_is_not_archived_yet(lab: Lab) -> None:
    """It is forgotten at once, with its objects, and is never found in the archive; its name is free."""
    run, other = square.map(range(3), run="mine"), square.submit((2,), run="other")
    lab.work()
    plan = lab.client.history.plan_delete(run.id)
    assert (plan.archived, plan.stored, plan.actions) == (0, 1, 4)
    done = lab.client.history.delete(plan)
    assert done.finished_at
    assert lab.store.counts(run.id) is None
    with pytest.raises(ActionNotFound):
        run.result()
    collected(lab)
    assert objects_of(lab, run) == []
    swept(lab)
    assert (remembered(lab), Archive(lab.blobs).incarnations(run.id)) == ({"other"}, [])
    assert other.result() == f"4{PAD}"
    assert lab.client.history.deleted() == [done]
    again = square.submit((3,), run="mine")
    lab.work()
    assert again.result() == f"9{PAD}"
    swept(lab)
    assert remembered(lab) == {"mine", "other"}, "only what had ended before the request is meant"


def test_without_an_archive(lab: Lab) -> None:
    """What is stored can be deleted all the same."""
    lab.client.settings = msgspec.structs.replace(lab.settings, archive=timedelta(0))
    run = square.submit((2,), run="mine")
    lab.work()
    assert lab.client.history.delete(lab.client.history.plan_delete(run.id)).stored == 1
    assert lab.store.counts(run.id) is None


def test_what_is_read_just_now_waits(lab: Lab) -> None:
    """Whoever makes a run of it has all he needs; the trace is not finished until it has gone."""
    run = square.submit((2,), run="mine")
    lab.work()
    lab.store.hold(RunLife(run.id, run.incarnation), RunId("default", "development", "new"), 60_000)
    done = lab.client.history.delete(lab.client.history.plan_delete(run.id))
    assert (done.finished_at, run.result()) == (0, f"4{PAD}")
    collected(lab, timedelta(minutes=3))
    assert lab.store.counts(run.id) is None
    [trace] = lab.client.history.deleted()
    assert trace.finished_at


def test_what_was_aborted_lately_waits(lab: Lab) -> None:
    """Its worker may still write; the collector forgets it ten minutes after its end."""
    run = lab.client.condition("mine", run="mine")
    run.abort()
    lab.work()
    assert lab.client.history.delete(lab.client.history.plan_delete(run.id)).finished_at == 0
    collected(lab)
    assert lab.store.counts(run.id) is not None
    collected(lab, timedelta(minutes=10))
    assert lab.store.counts(run.id) is None


def test_much_that_is_stored_is_left_to_the_collector(lab: Lab) -> None:
    """As with archived runs."""
    run = square.submit((2,), run="mine")
    lab.work()
    plan = lab.client.history.plan_delete(run.id)
    store_request(lab.blobs, plan)
    assert not Deleter(lab.store, lab.blobs, most=0).carry_out(plan)
    assert run.result() == f"4{PAD}"
    collected(lab)
    assert (lab.store.counts(run.id), objects_of(lab, run)) == (None, [])


def _ways(lab: Lab, run: Run[Any], label: str) -> list[Callable[[], Run[Any]]]:
    """Return all ways to make a run of a run."""
    return [
        lambda: lab.client.rerun(run.id, name=f"rerun-{label}"),
        lambda: lab.client.recover(run.id, name=f"recover-{label}"),
        lambda: lab.client.fork(run.id, again=["a0"], name=f"fork-{label}"),
    ]


@pytest.mark.parametrize("whole", [False, True])
def test_a_run_to_be_deleted_is_no_source(lab: Lab, *, whole: bool) -> None:
    """Nothing is made of a run whose deletion was asked for, alone or with its project, while it is still stored."""
    broken.add(1)
    run = square.map(range(3), run="mine")
    lab.work()
    broken.clear()
    history = lab.client.history
    lab.clock.advance(1)
    begun = _ways(lab, run, "begun")[0]
    first = begun()
    lab.store.hold(RunLife(run.id, run.incarnation), first.id, 60_000)  # so it stays for a while
    history.delete(history.plan_delete_project("default") if whole else history.plan_delete(run.id))
    for again in _ways(lab, run, "late"):
        with pytest.raises(
            SourceUnusable, match=r"mine cannot be used again: its deletion was requested at 2\d"
        ):
            again()
    assert begun().id == first.id, "what an earlier call has begun goes on"
    [told] = lab.client.bulk.plan(BulkVerb.RECOVER, [RunLife(run.id, run.incarnation)]).carry_out()
    assert "its deletion was requested" in told.refused
    later = square.submit((2,), run="later")
    lab.work()
    later.rerun(name="of-later")


def test_a_request_stands_as_long_as_the_run_is_stored(lab: Lab) -> None:
    """S3 is away, or the collector, for longer than requests are carried out: what was asked for is done afterwards."""
    run = square.submit((2,), run="mine")
    other = square.submit((3,), run="other")
    lab.work()
    lab.client.history.delete(lab.client.history.plan_delete(run.id))
    lab.clock.advance(timedelta(days=3))
    collected(lab)
    assert (remembered(lab), objects_of(lab, run)) == ({"other"}, [])
    assert other.result() == f"9{PAD}"

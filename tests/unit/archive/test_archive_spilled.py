"""Events of runs that live for long lie in segments, and go with the run that is deleted, whoever died over them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import structlog

from reconciler.api.action import RunId
from reconciler.archive.archive import Archive
from reconciler.archive.layout import EVENTS
from reconciler.client import Run
from reconciler.stores.holds import RunLife
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab

HALF = timedelta(hours=13)
"""Longer than half of the retention of events: they are old then."""
AGAIN = timedelta(minutes=21)
"""Until requests are carried out again."""


class Died(BaseException):
    """The process is gone."""


class Harmed:
    """The servers of a process to which something happens around one of its calls.

    Args:
        inner: a store, or objects.
        verb: the call, the first time.
        fits: which call of that verb.
        happens: what others do meanwhile.
        dies: whether the process is gone after the call.
        late: whether the call takes effect after the others have done that, as of one who was stopped; else before.
    """

    def __init__(
        self, inner: Any, verb: str, fits: str, happens: Callable[[], None], *, dies: bool, late: bool
    ) -> None:
        self._inner, self._verb, self._fits, self._happens = inner, verb, fits, happens
        self._dies, self._late, self._done = dies, late, False

    def __getattr__(self, name: str) -> Any:  # any verb
        found = getattr(self._inner, name)
        if name != self._verb:
            return found

        def call(*args: Any, **given: Any) -> Any:  # as above
            if self._done or self._fits not in str(args):
                return found(*args, **given)
            self._done = True
            answer = None if self._late else found(*args, **given)
            self._happens()
            answer = found(*args, **given) if self._late else answer
            if self._dies:
                raise Died
            return answer

        return call


def neighbours(lab: Lab) -> tuple[Run[Any], Run[Any]]:
    """Return a run that shall be deleted, and another one of its shard, both of which live for long."""
    other = lab.client.condition("other", run="other")
    shard = lab.store.shard_of(other.id)
    names = (f"mine{number}" for number in range(10_000))
    name = next(n for n in names if lab.store.shard_of(RunId("default", "development", n)) == shard)
    mine = lab.client.condition("mine", run=name)
    lab.settle(limit=HALF)
    lab.clock.advance(HALF)
    return mine, other


def swept(lab: Lab, *, store: Any = None, blobs: Any = None) -> None:
    """Run one pass of the collector."""
    with suppress(Died):
        collect(store or lab.store, lab.settings, blobs or lab.blobs)


def forgotten(lab: Lab, run: Run[Any]) -> None:
    """End it, let another collector archive and collect it, and then delete it on request."""
    run.abort()
    lab.work()
    for _ in range(2):
        lab.clock.advance(timedelta(minutes=61))  # sooner than others store old events
        swept(lab)
    assert lab.store.get(run.action) is None
    assert lab.client.history.delete(lab.client.history.plan_delete(run.id)).finished_at


def spilled(lab: Lab) -> str:
    """What all segments say."""
    uris = [one.uri for one in lab.blobs.find(lab.blobs.uri(EVENTS))]
    return "".join(gzip.decompress(lab.blobs.get(uri)).decode() for uri in uris)


@pytest.mark.rule("R91")
@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("verb", ["put", "set_spilled"])
def test_a_spill_is_no_way_back(verb: str, *, late: bool, dies: bool, project: bool) -> None:
    """Whoever is stopped or killed while he stores old events leaves none of a run that is deleted meanwhile."""
    lab = Lab()
    mine, other = neighbours(lab)

    def happens() -> None:
        forgotten(lab, mine)
        if project:
            history = lab.client.history
            history.delete(history.plan_delete_project("default"))

    def harmed(inner: Any, fits: str) -> Any:
        return Harmed(inner, verb, fits, happens, dies=dies, late=late)

    if verb == "put":
        swept(lab, blobs=harmed(lab.blobs, EVENTS))
    else:
        swept(lab, store=harmed(lab.store, ""))
    assert (mine.id.run in spilled(lab)) == (dies and verb == "put" and late), "or the test proves nothing"
    lab.clock.advance(AGAIN)
    swept(lab)
    assert mine.id.run not in spilled(lab)
    other.abort()
    lab.work()
    lab.clock.advance(timedelta(hours=2))
    swept(lab)
    kept = Archive(lab.blobs).read_run(other.id)
    assert kept is not None
    assert (kept.damage, kept.missing) == ("", 0), "its events are all there"


@pytest.mark.rule("R91")
def test_a_run_that_is_archived_and_not_collected_yet() -> None:
    """It is deleted while somebody reads it, then its old events are stored once more: they go with its records."""
    lab = Lab()
    mine, _ = neighbours(lab)
    mine.abort()
    lab.work()
    lab.clock.advance(timedelta(hours=2))

    def happens() -> None:
        """Let another collector store old events just then."""
        lab.store.hold(
            RunLife(mine.id, mine.incarnation), RunId("default", "development", "new"), 5 * 3_600_000
        )
        assert not lab.client.history.delete(lab.client.history.plan_delete(mine.id)).finished_at
        lab.clock.advance(timedelta(hours=4))
        swept(lab, store=Harmed(lab.store, "seal", "", lambda: None, dies=True, late=False))

    swept(lab, store=Harmed(lab.store, "set_archived", mine.id.run, happens, dies=True, late=False))
    assert lab.store.get(mine.action) is not None
    for _ in range(5):
        swept(lab)
        lab.clock.advance(AGAIN)
    assert lab.store.get(mine.action) is None
    swept(lab)
    assert mine.id.run not in spilled(lab)


@pytest.mark.rule("R91")
def test_a_later_run_of_its_name_keeps_its_events() -> None:
    """Only those of the deleted one go, also when both lie in segments."""
    lab = Lab()
    mine, _ = neighbours(lab)
    swept(lab)
    mine.abort()
    lab.work()
    for _ in range(2):
        lab.clock.advance(timedelta(hours=2))
        swept(lab)
    later = lab.client.condition("later", run=mine.id.run)
    lab.settle(limit=HALF)
    lab.clock.advance(HALF)
    swept(lab)
    plan = lab.client.history.plan_delete(mine.id, incarnation=mine.incarnation)
    assert lab.client.history.delete(plan).finished_at
    lines = [line for line in spilled(lab).splitlines() if mine.id.run in line]
    created = lab.client.get(later.action).metadata.creation_timestamp
    assert lines
    assert all(int(line.partition('"at":"')[2].partition("-")[0]) >= created for line in lines)
    later.abort()
    lab.work()
    lab.clock.advance(timedelta(hours=2))
    swept(lab)
    kept = Archive(lab.blobs).read_run(later.id, later.incarnation)
    assert kept is not None
    assert (kept.damage, kept.missing) == ("", 0)


@pytest.mark.rule("R42", "R91")
@pytest.mark.parametrize("deletes", [False, True])
def test_a_segment_nobody_can_read(*, deletes: bool) -> None:
    """It is told, and keeps no run from being archived, which says how many events are missing, nor from being deleted."""
    lab = Lab()
    mine, other = neighbours(lab)
    swept(lab)
    [segment] = lab.blobs.find(lab.blobs.uri(EVENTS))
    lab.blobs.put(segment.uri, b"damaged")
    lab.clock.advance(timedelta(days=2))
    swept(lab)  # the channel has forgotten them
    for run in (mine, other):
        run.abort()
    lab.work()
    lab.clock.advance(timedelta(hours=2))
    with structlog.testing.capture_logs() as logs:
        swept(lab)
    assert {line["uri"] for line in logs if line["event"] == "archive.damaged"} == {segment.uri}
    kept = Archive(lab.blobs).read_run(mine.id)
    assert kept is not None
    assert kept.missing > 0
    if deletes:
        lab.blobs.put(segment.uri, b"damaged")
        lab.client.history.delete(lab.client.history.plan_delete(mine.id))
        assert segment.uri not in {one.uri for one in lab.blobs.find(lab.blobs.uri(EVENTS))}

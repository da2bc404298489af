"""Holds: a run that others are made of is kept as long as they need it (R42)."""

from __future__ import annotations

import pytest
from support import RUN, PassTime, created, finish, make_action, shard_of

from reconciler.api.action import RunId, TaskAction
from reconciler.stores.base import Store
from reconciler.stores.holds import Hold, RunLife

pytestmark = pytest.mark.rule("R42")
HOLDER, OTHER = RunId("p", "d", "new"), RunId("p", "d", "other")


def ended(store: Store, pass_time: PassTime, incarnation: str = "abc") -> tuple[TaskAction, RunLife]:
    """Return a run that has ended, and who it is."""
    action = make_action()
    action.set_metadata(incarnation=incarnation)
    created(store, action)
    finish(store, action)
    pass_time(5)
    return action, RunLife(RUN, incarnation)


@pytest.mark.parametrize("incarnation", ["abc", ""])
def test_records_are_kept_for_its_time(store: Store, pass_time: PassTime, incarnation: str) -> None:
    """Until the time of a hold has passed no record of the run is forgotten; afterwards it is, while the hold stays."""
    action, life = ended(store, pass_time, incarnation)
    shard, border = shard_of(store, action), store.now()
    until = store.hold(life, HOLDER, 60_000)
    assert border + 60_000 <= until <= store.now() + 60_000
    assert store.collectable(shard, before=border, limit=10) == []
    report = store.collect(shard, before=border, limit=10)
    assert (report.deleted, report.kept) == ((), 1)
    over = store.hold(life, HOLDER, 0)
    assert until - 60_000 <= over <= store.now()
    assert len(store.collect(shard, before=border, limit=10).deleted) == 1
    assert store.holds(shard) == [Hold(life, HOLDER, over)]


def test_another_life_is_not_held(store: Store, pass_time: PassTime) -> None:
    """A run that is not stored, or was in another incarnation, cannot be held: its objects may be gone."""
    ended(store, pass_time)
    assert store.hold(RunLife(RUN, "xyz"), HOLDER, 1000) == 0
    assert store.hold(RunLife(RUN), HOLDER, 1000) == 0
    assert store.hold(RunLife(OTHER), HOLDER, 1000) == 0
    assert store.holds(store.shard_of(RUN)) == []


def test_what_is_held_may_be_held_by_another(store: Store, pass_time: PassTime) -> None:
    """Its objects are there while anybody holds it, whatever became of its records."""
    action, life = ended(store, pass_time)
    store.hold(life, HOLDER, 0)
    pass_time(5)
    store.collect(shard_of(store, action), before=store.now(), limit=10)
    assert store.counts(RUN) is None
    assert store.hold(life, OTHER, 1000) > 0
    assert store.holders(life) == (HOLDER, OTHER)


def test_a_hold_is_dropped_as_it_was_read(store: Store, pass_time: PassTime) -> None:
    """One that was renewed meanwhile stays; the last one takes all with it."""
    action, life = ended(store, pass_time)
    shard = shard_of(store, action)
    store.hold(life, HOLDER, 1000)
    read = store.holds(shard)
    pass_time(5)
    store.hold(life, HOLDER, 1000)
    store.let_go(shard, read)
    store.let_go(shard, [])
    assert store.holders(life) == (HOLDER,)
    store.let_go(shard, store.holds(shard))
    store.let_go(shard, read)
    assert (store.holders(life), store.holds(shard)) == ((), [])

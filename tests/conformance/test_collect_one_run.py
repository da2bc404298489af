"""One run is forgotten before its time, as somebody asked to delete it: as a whole, or not at all."""

from __future__ import annotations

import pytest
from support import RUN, claimed, committed, created, finish, make_action, success_write

from reconciler.api.action import RunId
from reconciler.stores.base import CreateOutcome, Store
from reconciler.stores.garbage import Collected, Life
from reconciler.stores.holds import RunLife

pytestmark = pytest.mark.rule("R91")
LIFE = RunLife(RUN)
OTHER = RunId("p", "d", "other")


def collect(store: Store, life: RunLife = LIFE, *, limit: int = 100, noted: bool = False) -> Collected:
    """Forget a run whose retention is not over."""
    return store.collect(store.shard_of(life.run), before=0, limit=limit, noted=noted, only=life)


def names(store: Store, run: RunId = RUN) -> list[str]:
    """What of a run is stored."""
    return [action.id.action for action in store.list_actions(run).actions]


def ended_tree(store: Store) -> None:
    """Store a run of two levels that ended."""
    tree = [make_action(), *(make_action(f"m{number}", parent="a0") for number in range(5))]
    created(store, *tree)
    for action in reversed(tree):
        finish(store, action)


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_all_of_it_goes_whenever_it_ended(store: Store, limit: int) -> None:
    """Also in pages; the next call finds what the one before it left, and others stay."""
    ended_tree(store)
    created(store, make_action(run=OTHER))
    finish(store, make_action(run=OTHER))
    shard = store.shard_of(RUN)
    going = store.collectable(shard, before=0, limit=limit, only=LIFE)
    assert sorted(action.id.action for action in going) == ["a0", *(f"m{number}" for number in range(5))]
    while collect(store, limit=limit).deleted:
        pass
    assert (names(store), store.counts(RUN)) == ([], None)
    assert names(store, OTHER) == ["a0"]
    assert collect(store) == Collected((), 0, 0)
    assert store.counts(RUN) is None, "nothing is made of a run that is gone"
    created(store, make_action())


def test_nothing_goes_while_some_of_it_lives(store: Store) -> None:
    """Neither what has ended, nor is it sealed."""
    created(store, make_action(), make_action("b0"))
    finish(store, make_action())
    shard = store.shard_of(RUN)
    assert store.collectable(shard, before=0, limit=100, only=LIFE) == []
    assert collect(store) == Collected((), 0, 0)
    assert names(store) == ["a0", "b0"]
    created(store, make_action("c0"))


def test_another_life_of_the_name_stays(store: Store) -> None:
    """Whoever was stopped after he had looked does not forget the next run of the name."""
    created(store, make_action())
    finish(store, make_action())
    assert collect(store, RunLife(RUN, "earlier")) == Collected((), 0, 0)
    assert names(store) == ["a0"]


@pytest.mark.rule("R39")
def test_what_owes_clean_up_stays_with_what_is_above(store: Store) -> None:
    """Nothing is added meanwhile: no name may meet what is left of an earlier life."""
    owes = make_action("m0", parent="a0")
    created(store, make_action(), owes, make_action("m1", parent="a0"))
    committed(store, success_write(claimed(store, owes), keep_finalizer=True, due=store.now() + 3_600_000))
    finish(store, make_action("m1", parent="a0"))
    finish(store, make_action())
    assert [action.id.action for action in collect(store).deleted] == ["m1"]
    assert names(store) == ["a0", "m0"]
    late = make_action("m1", parent="a0")
    assert store.create([late]).outcomes[0].outcome is CreateOutcome.SEALED


def test_a_run_that_is_held_stays(store: Store) -> None:
    """Somebody reads it to make another of it."""
    ended_tree(store)
    assert store.hold(LIFE, OTHER, 60_000)
    assert collect(store).deleted == ()
    assert len(names(store)) == 6


def test_with_notes_only_what_has_one(store: Store) -> None:
    """So no object is left of one that ended between the note and this call."""
    ended_tree(store)
    assert collect(store, noted=True).deleted == ()
    store.note_garbage(store.shard_of(RUN), {Life(RUN.action("m3")): ("s3://b/m3",)})
    assert [action.id.action for action in collect(store, noted=True).deleted] == ["m3"]

"""Ending above open children: what is owed to them is stored with the end itself."""

from __future__ import annotations

import pytest
from support import (
    claim,
    claimed,
    committed,
    created,
    due_time,
    finish,
    get,
    make_action,
    release_write,
    shard_of,
    success_write,
)

from reconciler.api.action import FINALIZER, Deletion
from reconciler.stores.base import Store
from reconciler.stores.timing import REFILL_AFTER

PARENT, CHILD = make_action("a0"), make_action("m0", parent="a0")


@pytest.mark.rule("R40")
def test_an_end_above_open_children_owes_another_round(store: Store) -> None:
    """The finalizer stays and the action is due at once, so a crash right after the end loses no child."""
    created(store, PARENT, CHILD)
    committed(store, success_write(claimed(store, PARENT)))
    ended = get(store, PARENT)
    assert ended.phase.is_terminal()
    assert ended.metadata.finalizers == (FINALIZER,)
    again = claim(store, PARENT).actions[0]
    assert again.children.open == 1
    assert again.token > 1


def test_an_end_above_ended_children_owes_nothing(store: Store) -> None:
    """Without open children the end is the end."""
    created(store, PARENT, CHILD)
    finish(store, CHILD)
    finish(store, PARENT)
    assert get(store, PARENT).metadata.finalizers == ()
    assert claim(store, PARENT).actions == []


def test_a_quiet_abort_asks_for_no_message(store: Store) -> None:
    """Whoever drains the shard itself leaves the next wake-up its message."""
    shard = created(store, PARENT, CHILD)
    store.claim(shard, owner="x", limit=0, first=True)
    report = store.request_abort(PARENT.id, Deletion(reason="enough"), quiet=True)
    assert (report.descendants, report.wake) == (1, ())
    assert store.wake([CHILD.id]) == (shard_of(store, CHILD),)


@pytest.mark.rule("R90")
def test_one_that_wants_more_children_is_woken_when_there_is_room(store: Store) -> None:
    """At once when so many are open as it says, else a moment after one has ended; not any more when it wants none."""
    children = [make_action(f"m{index}", parent="a0") for index in range(4)]
    created(store, PARENT, *children)
    parent = claimed(store, PARENT)
    write = release_write(parent, due=parent.now + 60_000)
    write.refill_at = 2
    committed(store, write)
    assert due_time(store, PARENT) == parent.now + 60_000
    finish(store, children[0])
    assert parent.now < (due_time(store, PARENT) or 0) <= store.now() + REFILL_AFTER
    finish(store, children[1])
    assert (due_time(store, PARENT) or 0) <= store.now()
    parent = claimed(store, PARENT)
    committed(store, release_write(parent, due=parent.now + 60_000))
    finish(store, children[2])
    assert due_time(store, PARENT) == parent.now + 60_000


@pytest.mark.rule("R90")
def test_room_that_came_while_it_was_held_is_seen_by_its_commit(store: Store) -> None:
    """Who says for the first time that he wants more may have missed ends."""
    children = [make_action(f"m{index}", parent="a0") for index in range(3)]
    created(store, PARENT, *children)
    parent = claimed(store, PARENT)
    finish(store, children[0])
    write = release_write(parent, due=parent.now + 60_000)
    write.refill_at = 2
    committed(store, write)
    assert (due_time(store, PARENT) or 0) <= store.now()

"""Ending above open children: what is owed to them is stored with the end itself."""

from __future__ import annotations

import pytest
from support import (
    claim,
    claimed,
    committed,
    created,
    finish,
    get,
    make_action,
    shard_of,
    success_write,
)

from reconciler.api.action import FINALIZER, Deletion
from reconciler.stores.base import Store

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

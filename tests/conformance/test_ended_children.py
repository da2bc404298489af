"""The members of a group in the order of their ends: for whoever takes results as they come."""

from __future__ import annotations

import msgspec
import pytest
from support import claimed, committed, created, finish, make_action, success_write

from reconciler.api.action import TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import Store

pytestmark = pytest.mark.rule("R90")
MEMBERS = [make_action(f"m{index}", parent="a0") for index in range(3)]


def group(task_type: str = "group") -> TaskAction:
    """Return the root of a group."""
    root = make_action("a0")
    root.spec = msgspec.structs.replace(root.spec, task_type=task_type)
    return root


@pytest.mark.parametrize("kind", ["group", "map"])
def test_ends_are_listed_in_their_order(store: Store, kind: str) -> None:
    """However they ended, the same each time, and from any place on."""
    root = group(kind)
    created(store, root, *MEMBERS)
    assert store.ended_children(root.id) == []
    finish(store, MEMBERS[2])
    finish(store, MEMBERS[0], ActionPhase.FAILED)
    finish(store, MEMBERS[1])
    assert store.ended_children(root.id) == ["m2", "m0", "m1"]
    assert store.ended_children(root.id, 1) == ["m0", "m1"]
    assert store.ended_children(root.id, 1, 1) == ["m0"]
    assert store.ended_children(root.id, 3) == []


def test_an_end_is_listed_once(store: Store) -> None:
    """A second commit of an ended action, as that of its finalizer, adds nothing."""
    root = group()
    created(store, root, MEMBERS[0])
    committed(store, success_write(claimed(store, MEMBERS[0]), keep_finalizer=True))
    committed(store, success_write(claimed(store, MEMBERS[0])))
    assert store.ended_children(root.id) == ["m0"]


def test_ends_below_another_parent_are_not_kept(store: Store) -> None:
    """Nobody follows them one by one."""
    root = make_action("a0")
    created(store, root, *MEMBERS)
    finish(store, MEMBERS[0])
    assert store.ended_children(root.id) == []


def test_the_list_goes_with_the_group(store: Store) -> None:
    """A run of the same name begins with an empty one."""
    root = group()
    shard = created(store, root, *MEMBERS)
    for action in (*MEMBERS, root):
        finish(store, action)
    while store.collect(shard, before=store.now() + 60_000, limit=10).deleted:
        pass
    assert store.get(root.id) is None
    assert store.ended_children(root.id) == []

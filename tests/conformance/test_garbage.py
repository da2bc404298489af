"""What the collector notes before it forgets, so that objects can go after records (R42)."""

from __future__ import annotations

import pytest
from support import PassTime, created, finish, make_action, shard_of

from reconciler.api.action import TaskAction
from reconciler.stores.base import Store
from reconciler.stores.garbage import Folders, Life

pytestmark = pytest.mark.rule("R42")
FOLDERS: Folders = ("s3://bucket/a b", "s3://bucket/ü")


def ended(store: Store, pass_time: PassTime, *names: str) -> tuple[list[TaskAction], int]:
    """Return actions that have ended, and a moment after their end."""
    actions = [make_action(name) for name in names]
    created(store, *actions)
    for action in actions:
        finish(store, action)
    pass_time(5)
    return actions, store.now()


def test_looking_forgets_nothing(store: Store, pass_time: PassTime) -> None:
    """What may be forgotten is told page by page, whole, and stays; what may not is not told."""
    actions, border = ended(store, pass_time, "a", "b", "c")
    live = make_action("live")
    created(store, live)
    shard = shard_of(store, live)
    for _ in range(2):
        found = store.collectable(shard, before=border, limit=2)
        assert sorted(record.id.action for record in found) == ["a", "b", "c"]
        assert {record.spec.task_type for record in found} == {actions[0].spec.task_type}
    assert store.collectable(shard, before=1, limit=2) == []
    assert len(store.collect(shard, before=border, limit=2).deleted) == 3


def test_only_what_is_noted_goes(store: Store, pass_time: PassTime) -> None:
    """A collector that has noted some forgets those alone; the others stay until they are noted, or until all may go."""
    (a, b, c), border = ended(store, pass_time, "a", "b", "c")
    shard = shard_of(store, a)
    store.note_garbage(shard, {Life(a.id): FOLDERS, Life(b.id): ()})
    report = store.collect(shard, before=border, limit=2, noted=True)
    assert (sorted(one.id.action for one in report.deleted), report.kept) == (["a", "b"], 1)
    assert store.collect(shard, before=border, limit=2, noted=True).deleted == ()
    assert store.get(c.id) is not None
    assert len(store.collect(shard, before=border, limit=2).deleted) == 1


def test_notes_stay_until_they_are_dropped(store: Store, pass_time: PassTime) -> None:
    """A note outlives its record, a later one replaces it, and dropping it twice is dropping it."""
    (a, b), border = ended(store, pass_time, "a", "b")
    shard = shard_of(store, a)
    store.note_garbage(shard, {})
    assert store.garbage(shard) == {}
    store.note_garbage(shard, {Life(a.id): ("s3://old/place",), Life(b.id): ()})
    store.note_garbage(shard, {Life(a.id): FOLDERS})
    store.collect(shard, before=border, limit=9)
    assert store.garbage(shard) == {Life(a.id): FOLDERS, Life(b.id): ()}
    for _ in range(2):
        store.drop_garbage(shard, [Life(b.id)])
        assert store.garbage(shard) == {Life(a.id): FOLDERS}
    store.drop_garbage(shard, [])
    store.drop_garbage(shard, [Life(a.id)])
    assert store.garbage(shard) == {}

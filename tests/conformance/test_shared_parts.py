"""Records share what is equal, in the store and in memory: none can spoil another, and large ones do not add up."""

from __future__ import annotations

from typing import Any

import pytest
from support import claimed, created, get, make_action

from reconciler.api.action import RunId, TaskAction
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.redis.core import _SHARED_CACHE
from reconciler.stores.redis.store import RedisStore


def spoil(record: TaskAction) -> None:
    """Change everything of a record that can be changed in place."""
    for part in (record.spec.env_vars, record.metadata.extra_labels, record.metadata.annotations):
        part["spoilt"] = "yes"


@pytest.mark.parametrize("env", [{}, {"A": "1"}])
def test_no_record_shares_what_can_be_changed(store: Store, env: dict[str, str]) -> None:
    """Environment, labels and annotations of a parent, its child and an equal action of another run are each its own."""
    parent, child = make_action(env=dict(env)), make_action("m0", parent="a0", env=dict(env))
    other = make_action(run=RunId("p", "d", "r2"), env=dict(env))
    created(store, parent, child)
    created(store, other)
    spoil(claimed(store, parent))
    spoil(get(store, parent))
    for record in (
        claimed(store, child),
        get(store, child),
        claimed(store, other),
        get(store, other),
        get(store, parent),
    ):
        assert record.spec.env_vars == env
        assert (record.metadata.extra_labels, record.metadata.annotations) == ({}, {})


@pytest.mark.servers
def test_large_shared_parts_make_room_and_are_read_again(valkey_url: str) -> None:
    """More than fits is read once more when it is needed; a record is never without its template."""
    store = RedisStore(Settings(redis_url=valkey_url, key_prefix="large"))
    size, count = 200 * 1024, _SHARED_CACHE // (200 * 1024)  # in JSON a third more
    actions = [
        make_action(run=RunId("p", "d", f"r{number}"), template=b"%d" % number + b"x" * size)
        for number in range(count)
    ]
    for start in range(0, count, 50):
        store.create(actions[start : start + 50])
    read: list[Any] = [
        record
        for start in range(0, count, 50)
        for record in store.get_many([a.id for a in actions[start : start + 50]])
    ]
    assert [record.spec.task_template for record in read] == [action.spec.task_template for action in actions]
    assert store._shared.weight <= _SHARED_CACHE
    assert get(store, actions[0]).spec.task_template == actions[0].spec.task_template
    store.close()

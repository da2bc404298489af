"""Records share what is equal, in the store and in memory: none can spoil another, and large ones do not add up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support import claimed, created, finish, get, make_action

from reconciler.api.action import RunId, TaskAction
from reconciler.settings import Settings
from reconciler.stores.base import CreateOutcome, Store
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


RUNS = [RunId("p", "d", f"r{number}") for number in range(3)]
LIFE = "incarnatio"
"""The incarnation of each of them."""


def begun(store: Store, run: RunId, name: str = "a0", parent: str | None = None) -> TaskAction:
    """Store an action of a run whose outputs lie in the run's own folder."""
    made = make_action(name, run=run, parent=parent, template=b"equal")
    base = f"s3://b/_runs/{run}@{LIFE}"
    made = TaskAction(
        made.id,
        msgspec.structs.replace(made.spec, run_output_base=base),
        metadata=msgspec.structs.replace(made.metadata, incarnation=LIFE),
    )
    created(store, made)
    return made


def is_whole(record: TaskAction | None) -> bool:
    """Tell whether a record has all of its spec."""
    wanted = (b"equal", f"s3://b/_runs/{record.id.run_id}@{LIFE}") if record else None
    return record is not None and (record.spec.task_template, record.spec.run_output_base) == wanted


@pytest.mark.servers
def test_equal_parts_are_stored_once_and_go_with_the_last_run(valkey_url: str) -> None:
    """Runs of one task share its template; whichever of them is forgotten first, the others keep it."""
    store = RedisStore(Settings(redis_url=valkey_url, key_prefix="once", shards=1))
    for run in RUNS:
        begun(store, run)
        begun(store, run, "m1", "a0")
    assert store.client.hvals(store.keys.base(0) + "uses") == [b"3"]
    assert store.client.hlen(store.keys.parts(0)) == 1
    for place, run in enumerate(RUNS):
        for name in ("m1", "a0"):
            finish(store, make_action(name, run=run))
        raw = store.recall(run)
        assert raw is not None
        assert [f"_runs/{run}@{LIFE}" in part for part in raw.shared.values()] == [True]
        report = store.collect(0, before=store.now() + 1, limit=100)
        assert [is_whole(action) for action in report.deleted] == [True, True]
        fresh = RedisStore(store.settings)
        assert [is_whole(fresh.get(other.action("a0"))) for other in RUNS[place + 1 :]] == [True] * (
            2 - place
        )
    assert not store.client.exists(store.keys.parts(0), store.keys.base(0) + "uses")


@pytest.mark.servers
def test_a_part_that_a_release_before_stored_with_its_run(valkey_url: str) -> None:
    """It is read where it lies, also beside the parts of this release, and goes with its run."""
    store = RedisStore(Settings(redis_url=valkey_url, key_prefix="apart", shards=1))
    run, client = RUNS[0], store.client
    root = begun(store, run)
    raw = store.recall(run)
    assert raw is not None
    client.hset(store.keys.shared(run), mapping=raw.shared)
    client.delete(store.keys.parts(0), store.keys.base(0) + "uses")
    client.hdel(store.keys.run(run), *(f"h:{name[:16]}" for name in raw.shared))
    assert is_whole(RedisStore(store.settings).get(root.id))
    assert store.recall(run) == raw
    again = store.create([root]).outcomes[0]
    assert again.outcome is CreateOutcome.EXISTS
    child = begun(store, run, "m1", "a0")
    assert is_whole(RedisStore(store.settings).get(child.id))
    finish(store, child)
    finish(store, root)
    report = RedisStore(store.settings).collect(0, before=store.now() + 1, limit=100)
    assert [is_whole(action) for action in report.deleted] == [True, True]
    assert not client.exists(store.keys.shared(run), store.keys.parts(0), store.keys.base(0) + "uses")

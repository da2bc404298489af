"""Values a function keeps: the first one stands, and only the launch that runs may add one."""

from __future__ import annotations

import pytest
from support import (
    PassTime,
    claimed,
    committed,
    created,
    finish,
    get,
    launched,
    make_action,
    release_write,
    reported,
    started,
)

from reconciler.api.action import AttemptOutcome, Deletion, TaskAction
from reconciler.stores.base import Store

ACTION = make_action("a0")


def keep(
    store: Store,
    action: TaskAction,
    value: bytes,
    *,
    launch: str = "1",
    owner: str = "w1",
    name: str = "n",
) -> bytes | None:
    """Keep a value of the running launch."""
    return store.keep_step(
        action.id, launch, owner=owner, name=name, value=value, incarnation=action.metadata.incarnation
    )


@pytest.mark.rule("R89")
def test_the_first_value_stands(store: Store) -> None:
    """Who keeps another value under a name gets the one there is."""
    launched(store, ACTION)
    started(store, ACTION)
    assert keep(store, ACTION, b"one") == b"one"
    assert keep(store, ACTION, b"two") == b"one"
    assert keep(store, ACTION, b"\xff\x00", name="other") == b"\xff\x00"
    assert store.steps(ACTION.id) == {"n": b"one", "other": b"\xff\x00"}


@pytest.mark.rule("R89")
@pytest.mark.parametrize(("launch", "owner"), [("2", "w1"), ("1", "w2")])
def test_another_launch_or_worker_keeps_nothing(store: Store, launch: str, owner: str) -> None:
    """A worker that was given up may wake late: it is told, and nothing is kept."""
    launched(store, ACTION)
    started(store, ACTION)
    assert keep(store, ACTION, b"late", launch=launch, owner=owner) is None
    assert store.steps(ACTION.id) == {}


def test_nothing_is_kept_before_a_start_or_after_the_report(store: Store) -> None:
    """Only a running launch keeps."""
    launched(store, ACTION)
    assert keep(store, ACTION, b"early") is None
    started(store, ACTION)
    reported(store, ACTION, AttemptOutcome(ended="returned"))
    assert keep(store, ACTION, b"late") is None
    assert keep(store, make_action("ghost"), b"none") is None


def test_another_incarnation_keeps_nothing(store: Store) -> None:
    """A worker of an earlier run of that name is told."""
    launched(store, ACTION)
    started(store, ACTION)
    assert store.keep_step(ACTION.id, "1", owner="w1", name="n", value=b"v", incarnation="zzzzzzzzzz") is None


def test_values_go_with_their_action(store: Store, pass_time: PassTime) -> None:
    """What is collected leaves nothing."""
    launched(store, ACTION)
    started(store, ACTION)
    keep(store, ACTION, b"one")
    finish(store, ACTION)
    pass_time(5)
    store.collect(store.shard_of(ACTION.id.run_id), before=store.now(), limit=10)
    assert store.get(ACTION.id) is None
    assert store.steps(ACTION.id) == {}


@pytest.mark.rule("R88")
def test_the_end_of_the_only_child_does_not_trouble_who_runs_its_parent(store: Store) -> None:
    """A launch at work is told of ends itself; a parent that is to end is still woken by its last child."""
    parent, first, second = make_action("p"), make_action("c1", parent="p"), make_action("c2", parent="p")
    launched(store, parent)
    created(store, first)
    started(store, parent)
    now, shard = store.now(), store.shard_of(parent.id.run_id)
    finish(store, first)
    assert dict(store.due(shard)).get(parent.id, now + 10_000) > now
    created(store, second)
    store.request_abort(parent.id, Deletion(reason="test"))
    committed(store, release_write(claimed(store, parent), due=store.now() + 100_000))
    finish(store, second)
    assert dict(store.due(shard))[parent.id] <= store.now()


@pytest.mark.rule("R88")
def test_each_end_wakes_a_parent_whose_launch_has_ended(store: Store) -> None:
    """A suspended parent is due when any child ends; one that runs is not troubled."""
    parent, first, second = make_action("p"), make_action("c1", parent="p"), make_action("c2", parent="p")
    launched(store, parent)
    created(store, first, second)
    started(store, parent)
    now = store.now()
    finish(store, first)
    shard = store.shard_of(parent.id.run_id)
    assert dict(store.due(shard)).get(parent.id, now + 10_000) > now
    reported(store, parent, AttemptOutcome(ended="suspended", waits=("c2",), waits_for=1))
    record = get(store, parent)
    assert record.attempt.suspended
    assert record.attempt.outcome is not None
    assert record.attempt.outcome.waits == ("c2",)
    held = claimed(store, parent)
    finish(store, second)  # while a step holds the parent
    committed(store, release_write(held, due=store.now() + 100_000))
    assert dict(store.due(shard))[parent.id] <= store.now()


@pytest.mark.rule("R89")
def test_a_value_can_take_the_place_of_all_others(store: Store) -> None:
    """Of a function that starts over: once, so that what is kept after that stays."""
    launched(store, ACTION)
    started(store, ACTION)
    for name in ("a", "b"):
        keep(store, ACTION, b"old", name=name)
    for name, value in (("1/", b"v"), ("1/a", b"new")):
        alone = name == "1/"
        assert store.keep_step(ACTION.id, "1", owner="w1", name=name, value=value, alone=alone) == value
    assert store.keep_step(ACTION.id, "1", owner="w1", name="1/", value=b"other", alone=True) == b"v"
    assert store.steps(ACTION.id) == {"1/": b"v", "1/a": b"new"}

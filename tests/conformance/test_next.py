"""While a crowd is due, who comes behind it is taken before its turn, and nobody waits for ever."""

from __future__ import annotations

import random

import pytest
from support import STEP_LEASE, PassTime, claim, committed, created, make_action, release_write

from reconciler.api.action import Deletion, RunId, TaskAction
from reconciler.stores.base import Store
from reconciler.stores.memory import MemoryStore
from reconciler.stores.timing import CROWD

pytestmark = pytest.mark.rule("R2")
BATCH = 10


def crowd(store: Store, count: int = 3 * CROWD) -> list[TaskAction]:
    """Return actions of one run, all due; most are stored while others are."""
    made = [make_action("a0"), *(make_action(f"c{n:04}", parent="a0") for n in range(1, count))]
    for start in range(0, count, CROWD):
        created(store, *made[start : start + CROWD])
    return made


def batch(store: Store, shard: int) -> list[str]:
    """Take the next batch of a step, and decide that nothing is to be done for an hour; return its runs and names."""
    report = store.claim(shard, owner="step", limit=BATCH)
    writes = [release_write(action, due=report.now + 3_600_000) for action in report.actions]
    store.commit(shard, writes)
    return [f"{action.id.run_id.run}/{action.id.action}" for action in report.actions]


def lone(store: Store, shard: int, number: int = 0) -> TaskAction:
    """Return a run of one action in the same shard."""
    names = (f"lone{number:05}x{n}" for n in range(10_000))
    name = next(name for name in names if store.shard_of(RunId("p", "d", name)) == shard)
    return make_action(run=RunId("p", "d", name))


def test_a_call_behind_a_crowd_is_in_a_batch_at_once(store: Store) -> None:
    """The crowd's own come before it by some batches at most, and the oldest have their half of each."""
    made = crowd(store)
    shard = store.shard_of(made[0].id.run_id)
    one = lone(store, shard)
    created(store, one)
    batches = [batch(store, shard) for _ in range(8)]
    assert any(f"{one.id.run_id.run}/a0" in each for each in batches)
    assert batches[0][-BATCH // 2 :] == [f"r1/{action.id.action}" for action in made[: BATCH // 2]]


def test_whoever_came_first_is_taken_all_the_same(store: Store, pass_time: PassTime) -> None:
    """However many come behind it, the n-th of those that are due is taken by the batch of its number, halves counted."""
    made = crowd(store, 2 * CROWD)
    shard = store.shard_of(made[0].id.run_id)
    pass_time(2)
    taken: list[str] = []
    for number in range(2 * len(made) // BATCH):
        created(store, *(lone(store, shard, 10 * number + n) for n in range(BATCH)))
        taken += batch(store, shard)
        oldest = [f"r1/{action.id.action}" for action in made[: (number + 1) * BATCH // 2]]
        assert set(oldest) <= set(taken)


def put_off_behind(store: Store) -> tuple[list[TaskAction], TaskAction]:
    """Make a crowd, and one in its shard that was stored behind it and put off by an hour."""
    made = crowd(store)
    one = lone(store, store.shard_of(made[0].id.run_id))
    created(store, one)
    [record] = claim(store, one).actions
    committed(store, release_write(record, due=record.now + 3_600_000))
    return made, one


def test_who_is_woken_behind_a_crowd_is_next(store: Store) -> None:
    """An abort of a call that waits for something far away does not wait for the crowd."""
    _, one = put_off_behind(store)
    shard = store.shard_of(one.id.run_id)
    store.request_abort(one.id, Deletion(actor="ada"))
    assert any(f"{one.id.run_id.run}/a0" in batch(store, shard) for _ in range(8))


def test_a_note_is_no_reason_to_take_what_is_not_due(store: Store) -> None:
    """What a message named, and a step put off, is left alone though it was next."""
    made, one = put_off_behind(store)
    shard = store.shard_of(one.id.run_id)
    taken = [path for _ in range(len(made) // BATCH + 1) for path in batch(store, shard)]
    assert f"{one.id.run_id.run}/a0" not in taken
    assert sorted(taken) == [f"r1/{action.id.action}" for action in made]


def test_of_a_step_that_dies_all_is_taken_again(store: Store, pass_time: PassTime) -> None:
    """Who was next and was claimed by a dead step is due when its lease ends, and taken with the others."""
    made = crowd(store)
    shard = store.shard_of(made[0].id.run_id)
    one = lone(store, shard)
    created(store, one)
    while str(one.id) not in {str(each.id) for each in store.claim(shard, owner="s", limit=BATCH).actions}:
        pass
    pass_time(STEP_LEASE + 1)
    report = store.claim(shard, owner="s", limit=2 * len(made))
    assert len(report.actions) == len(made) + 1


@pytest.mark.parametrize("kind", [pytest.param("valkey", marks=pytest.mark.servers)])
def test_both_stores_take_the_same(store: Store) -> None:
    """Of crowds, calls and batches in a random order, the twin's batches are those of Redis."""
    seed = random.SystemRandom().randrange(1, 1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    twin = MemoryStore(clock=store.now, shards=store.shards)
    made = crowd(store)
    crowd(twin)
    shard = store.shard_of(made[0].id.run_id)
    for number in range(60):
        if rng.random() < 0.5:
            several = [lone(store, shard, 100 * number + n) for n in range(rng.choice((1, 2, 20)))]
            created(twin, *several)
            created(store, *several)
        assert batch(store, shard) == batch(twin, shard)

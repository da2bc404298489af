from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.api.action import ActionId, ActionSpec, TaskAction
from reconciler.stores.memory import MemoryStore


def action(name: str = "a0") -> TaskAction:
    """Return a submission."""
    return TaskAction(ActionId("p", "d", "r", name), ActionSpec(run_name="r", action_name=name))


def test_the_hook_is_told_after_each_write() -> None:
    """A hook sees the verb when its write can already be read."""
    store = MemoryStore()
    seen: list[tuple[str, bool]] = []
    store.on_write = lambda verb, _: seen.append((verb, store.get(action().id) is not None))
    store.create([action()])
    store.claim(store.shard_of(action().id.run_id), owner="s", limit=1)
    store.get(action().id)
    assert seen == [("create", True), ("claim", True)]


def test_a_crash_right_after_a_write_leaves_it_standing() -> None:
    """A hook that raises plays a process that died before the answer: the write stands, the lock is free."""
    store = MemoryStore()

    def crash(verb: str, detail: object) -> None:
        raise KeyboardInterrupt(verb, detail)

    store.on_write = crash
    with pytest.raises(KeyboardInterrupt):
        store.create([action()])
    store.on_write = None
    with ThreadPoolExecutor(1) as other:
        assert other.submit(store.get, action().id).result(10) is not None


def test_time_is_the_wall_clock_unless_given() -> None:
    """Without a clock the store tells milliseconds since the epoch; with one, what that says."""
    before = time.time_ns() // 1_000_000
    assert before <= MemoryStore().now() <= time.time_ns() // 1_000_000
    assert MemoryStore(clock=lambda: 7).now() == 7


def test_of_many_threads_one_gets_the_claim() -> None:
    """Each action is claimed by exactly one of many claimants at once."""
    store = MemoryStore(clock=lambda: 1_800_000_000_000)
    store.create([action(f"a{n}") for n in range(50)])
    shard = store.shard_of(action().id.run_id)
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda n: store.claim(shard, owner=str(n), limit=3), range(40)))
    claimed = [one.id.action for report in reports for one in report.actions]
    assert sorted(claimed) == sorted(f"a{n}" for n in range(50))

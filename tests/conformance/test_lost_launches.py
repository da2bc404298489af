"""Lost launches are found by the look at all shards, whatever the line before them (decision 0007)."""

from __future__ import annotations

import pytest
from support import (
    LookingStore,
    PassTime,
    claimed,
    committed,
    due_time,
    launched,
    make_action,
    release_write,
    started,
    success_write,
)

from reconciler.api.action import TaskAction
from reconciler.stores.changes import LOST_AT_ONCE, PROBE_DOUBLINGS
from reconciler.stores.memory import MemoryStore, state
from reconciler.stores.redis import stepping
from reconciler.stores.redis.store import RedisStore

pytestmark = pytest.mark.rule("R29")
HOUR = 3_600_000
OVERTAKEN = 200
PROBE = 800
KEPT = 1_500
"""Shorter than in life, since real servers cannot be told what time it is."""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "OVERTAKEN", OVERTAKEN)
    monkeypatch.setattr(state, "PROBE", PROBE)
    monkeypatch.setattr(state, "QUEUE_KEPT", KEPT)
    monkeypatch.setattr(stepping, "_LOST", (OVERTAKEN, LOST_AT_ONCE, PROBE, PROBE_DOUBLINGS, KEPT))


def waiting(store: LookingStore, name: str) -> TaskAction:
    """An action whose launch waits for a worker, and that is due in an hour."""
    action = make_action(name)
    launched(store, action, due=store.now() + HOUR)
    return action


def remembered(store: LookingStore) -> set[str]:
    """Queues of which something is known."""
    if isinstance(store, RedisStore):
        found = (store.client.hkeys(f"{store.keys.base(shard)}queues") for shard in range(store.shards))
    else:
        assert isinstance(store, MemoryStore)
        found = (shard.queues for shard in store._shards)
    return {name.decode() for names in found for name in names}


def lost(store: LookingStore) -> list[str]:
    """What one look makes due."""
    shards = [shard for shard, late, *_ in store.look(HOUR) if late]
    return sorted(a.action for shard in shards for a, at in store.due(shard) if at <= store.now())


def test_an_overtaken_launch_becomes_due(store: LookingStore, pass_time: PassTime) -> None:
    """A launch that waits while a younger one of its queue has started is looked at; the younger one is not."""
    old = waiting(store, "old")
    pass_time(2)
    young = waiting(store, "young")
    pass_time(OVERTAKEN)
    assert lost(store) == []
    started(store, young)
    assert lost(store) == ["old"]
    assert due_time(store, old) is not None


def test_a_relaunch_that_starts_overtakes_nobody(store: LookingStore, pass_time: PassTime) -> None:
    """It was put at the head of its queue, so those it passed are in line, and not lost."""
    waiting(store, "old")
    pass_time(2)
    young = make_action("young")
    launched(store, young, launch="1-1", due=store.now() + HOUR)
    pass_time(OVERTAKEN)
    started(store, young, launch="1-1")
    assert lost(store) == []


def test_a_launch_in_line_stays_asleep(store: LookingStore, pass_time: PassTime) -> None:
    """While older launches of its queue are started, nobody looks at a younger one."""
    for name in ("a", "b"):
        waiting(store, name)
    pass_time(2)
    waiting(store, "young")
    pass_time(PROBE - 300)
    started(store, make_action("a"))
    pass_time(600)
    started(store, make_action("b"))
    assert lost(store) == []


def test_a_queue_that_stands_still_is_tried_with_one_launch(store: LookingStore, pass_time: PassTime) -> None:
    """When a queue starts nothing for a while its oldest launch is looked at, and nothing more for as long again."""
    waiting(store, "first")
    pass_time(2)
    waiting(store, "second")
    pass_time(PROBE)
    assert lost(store) == ["first"]
    committed(store, release_write(claimed(store, make_action("first")), due=store.now() + HOUR))
    assert lost(store) == []


def test_an_ended_launch_is_never_lost(store: LookingStore, pass_time: PassTime) -> None:
    """What has ended without a start waits no more."""
    action = waiting(store, "a0")
    committed(store, success_write(claimed(store, action)))
    pass_time(PROBE)
    assert lost(store) == []


def test_a_launch_that_changed_its_queue_waits_in_one(store: LookingStore, pass_time: PassTime) -> None:
    """Sent again to another queue it is lost to the first one for good: only the other one's silence counts."""
    action = waiting(store, "a0")
    write = release_write(claimed(store, action), due=store.now() + HOUR)
    write.status, write.launch = True, ("1", "other")
    committed(store, write)
    pass_time(PROBE)
    assert lost(store) == ["a0"]
    started(store, action)
    pass_time(2 * PROBE)
    assert lost(store) == []


def test_a_queue_nobody_uses_is_forgotten(store: LookingStore, pass_time: PassTime) -> None:
    """Names of queues do not pile up: one goes some time after its last start, and never while a launch waits for it."""
    action = waiting(store, "a0")
    assert remembered(store)
    pass_time(KEPT + 1)
    assert lost(store) == ["a0"]
    assert remembered(store)
    started(store, action)
    lost(store)
    assert remembered(store)
    pass_time(KEPT + 1)
    lost(store)
    assert remembered(store) == set()


def test_a_forgotten_queue_is_used_again(store: LookingStore, pass_time: PassTime) -> None:
    """What is sent to a queue that was forgotten is started, and found when it is lost, as on the first day."""
    started(store, waiting(store, "a0"))
    pass_time(KEPT + 1)
    lost(store)
    assert remembered(store) == set()
    old = waiting(store, "old")
    pass_time(2)
    young = waiting(store, "young")
    pass_time(OVERTAKEN)
    started(store, young)
    assert lost(store) == [old.id.action]

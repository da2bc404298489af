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
from reconciler.stores.memory import state
from reconciler.stores.redis import stepping

pytestmark = pytest.mark.spec("W-02")
HOUR = 3_600_000
OVERTAKEN = 200
PROBE = 800
"""Shorter than in life, since real servers cannot be told what time it is."""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "OVERTAKEN", OVERTAKEN)
    monkeypatch.setattr(state, "PROBE", PROBE)
    monkeypatch.setattr(stepping, "_LOST", (OVERTAKEN, LOST_AT_ONCE, PROBE, PROBE_DOUBLINGS))


def waiting(store: LookingStore, name: str) -> TaskAction:
    """An action whose launch waits for a worker, and that is due in an hour."""
    action = make_action(name)
    launched(store, action, due=store.now() + HOUR)
    return action


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

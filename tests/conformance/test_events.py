from __future__ import annotations

import pytest
from support import (
    RUN,
    PassTime,
    claimed,
    committed,
    created,
    event,
    finish,
    get,
    make_action,
    phase_write,
    shard_of,
)

from reconciler.api.action import TaskAction
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import Store

pytestmark = pytest.mark.rule("R56")
KEPT = 200


def publish(store: Store, action: TaskAction, count: int) -> None:
    """Publish `count` events of an action in one write."""
    held = claimed(store, action)
    write = phase_write(held, ActionPhase.RUNNING, due=store.now())
    write.events = [event(held, ActionPhase.RUNNING, offset=n + 1) for n in range(count)]
    committed(store, write)


def sequences(events: list[ActionEvent]) -> list[int]:
    """Return the numbers of events."""
    return [one.sequence for one in events]


def test_events_are_gapless_per_action(store: Store) -> None:
    """Each action's events carry 1, 2, 3 … however its writes are mixed with those of others."""
    one, two = make_action("one"), make_action("two")
    created(store, one, two)
    for _ in range(3):
        publish(store, one, 1)
        publish(store, two, 2)
    finish(store, one)
    assert sequences(store.events(one.id)) == [1, 2, 3, 4, 5]
    assert sequences(store.events(two.id)) == [1, 2, 3, 4, 5, 6, 7]
    assert [e.final for e in store.events(one.id)] == [False] * 4 + [True]


@pytest.mark.parametrize("after", [0, 1, 3, 4, 9])
def test_events_are_read_from_a_sequence_on(store: Store, after: int) -> None:
    """A reader that knows the first events gets the others alone."""
    action = make_action()
    created(store, action)
    publish(store, action, 3)
    assert sequences(store.events(action.id, after)) == [n for n in (1, 2, 3, 4) if n > after]


def test_a_missing_action_has_no_events(store: Store) -> None:
    """Nothing is known of what is not there."""
    assert store.events(make_action().id) == []


def test_a_record_remembers_a_bounded_number_of_events(store: Store) -> None:
    """Only the newest 200 events of an action are found by it, in order, and the count goes on."""
    action = make_action()
    created(store, action)
    publish(store, action, 150)
    publish(store, action, 150)
    last = 301
    assert get(store, action).events == last
    assert sequences(store.events(action.id)) == list(range(last - KEPT + 1, last + 1))
    assert sequences(store.events(action.id, last - 2)) == [last - 1, last]
    assert sequences(store.events(action.id, 5)) == list(range(last - KEPT + 1, last + 1))


def test_the_channel_holds_all_events_of_a_shard_in_order(store: Store) -> None:
    """The results channel is the order in which things happened."""
    one, two = make_action("one"), make_action("two")
    shard = created(store, one, two)
    publish(store, two, 1)
    finish(store, one)
    entries = store.channel(shard)
    seen = [(entry.event.id.action, entry.event.sequence, entry.event.phase) for entry in entries]
    assert seen == [
        ("one", 1, ActionPhase.QUEUED), ("two", 1, ActionPhase.QUEUED),
        ("two", 2, ActionPhase.RUNNING), ("one", 2, ActionPhase.SUCCEEDED),
    ]  # fmt: skip


def test_the_channel_is_read_on_from_a_cursor(store: Store) -> None:
    """Following the cursors gives every event once."""
    action = make_action()
    shard = created(store, action)
    publish(store, action, 6)
    found, cursor = [], "0-0"
    while entries := store.channel(shard, cursor, limit=3):
        assert len(entries) <= 3
        found += [entry.event.sequence for entry in entries]
        cursor = entries[-1].cursor
    assert found == [1, 2, 3, 4, 5, 6, 7]


def test_a_quiet_shard_has_an_empty_channel(store: Store) -> None:
    """Events of other shards do not show."""
    shard = created(store, make_action())
    assert store.channel((shard + 1) % store.shards) == []


def test_an_event_is_kept_as_it_was_published(store: Store) -> None:
    """What a step publishes is what readers get."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    sent = ActionEvent(
        id=action.id, sequence=2, attempt=2, phase=ActionPhase.FAILED, version=3, final=True, updated_time=5,
        reported_time=6, cluster="c", output_prefix="s3://b/x", actor="ada", log_context={"worker": "w"},
    )  # fmt: skip
    write = phase_write(held, ActionPhase.FAILED)
    write.events = [sent]
    committed(store, write)
    assert store.events(action.id, 1) == [sent]
    assert store.channel(shard_of(store, action))[-1].event == sent


def test_old_events_are_dropped_by_time(store: Store, pass_time: PassTime) -> None:
    """Trimming forgets events before a time, in channel and record, and says how many; later ones stay."""
    action = make_action()
    shard = created(store, action)
    publish(store, action, 2)
    pass_time(5)
    border = store.now()
    publish(store, action, 1)
    assert store.trim_events(border) == 3
    assert sequences(store.events(action.id)) == [4]
    assert [entry.event.sequence for entry in store.channel(shard)] == [4]
    assert store.trim_events(border) == 0
    publish(store, action, 1)
    assert sequences(store.events(action.id)) == [4, 5]
    assert store.counts(RUN) is not None

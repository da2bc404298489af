from __future__ import annotations

import pytest
from support import (
    MAX_COUNTDOWN,
    PENDING_TTL,
    RUN,
    STEP_LEASE,
    PassTime,
    claimed,
    committed,
    created,
    due_time,
    finish,
    make_action,
    release_write,
    shard_of,
    success_write,
)

from reconciler.api.action import RunId, TaskAction
from reconciler.stores.base import Store

pytestmark = pytest.mark.rule("R7")
HOUR = 3_600_000


def overdue(store: Store, grace: int) -> tuple[int, ...]:
    """Return shards in which something is due for longer than `grace` ms."""
    return tuple(one.shard for one in store.look(grace).late if one.overdue)


def sleeping(store: Store, name: str = "a0", *, due: int | None = None) -> TaskAction:
    """Return an action that was looked at once and waits, with no message pending for its shard."""
    action = make_action(name)
    created(store, action)
    at = store.now() + HOUR if due is None else due
    record = store.claim(shard_of(store, action), owner="s", limit=1, named=[action.id], first=True).actions[
        0
    ]
    committed(store, release_write(record, due=at))
    return action


def test_a_woken_action_is_due_now(store: Store) -> None:
    """Waking brings the due time of a sleeping action to now, and asks for one message."""
    action = sleeping(store)
    before = store.now()
    assert store.wake([action.id]) == (shard_of(store, action),)
    at = due_time(store, action)
    assert at is not None
    assert before <= at <= store.now()
    assert store.wake([action.id]) == ()


def test_a_commit_after_its_lease_keeps_a_wake_up(store: Store, pass_time: PassTime) -> None:
    """A step that outlived its lease, and whom nobody replaced, does not undo a wake-up that came meanwhile (seed 202)."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    pass_time(STEP_LEASE + 1)
    store.wake([action.id])
    committed(store, release_write(held, due=0))
    at = due_time(store, action)
    assert at is not None
    assert at <= store.now()


def test_an_action_can_be_woken_later(store: Store) -> None:
    """A future wake-up moves the due time there and needs no message."""
    action = sleeping(store)
    at = store.now() + 60_000
    assert store.wake([action.id], at) == ()
    assert due_time(store, action) == at


def test_waking_never_puts_off(store: Store) -> None:
    """A later request does not undo an earlier one."""
    soon = store.now() + 30_000
    action = sleeping(store, due=soon)
    store.wake([action.id], soon + 30_000)
    assert due_time(store, action) == soon


def test_an_action_that_waits_for_nothing_can_be_woken(store: Store) -> None:
    """An action without a due time becomes due when it is woken."""
    action = sleeping(store, due=0)
    assert due_time(store, action) is None
    store.wake([action.id])
    assert due_time(store, action) is not None


def test_of_two_requests_during_a_step_the_earlier_counts(store: Store) -> None:
    """A later request does not undo an earlier one while a step holds the action either."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    soon = store.now() + 20_000
    store.wake([action.id], soon)
    store.wake([action.id], soon + 20_000)
    committed(store, release_write(held, due=soon + HOUR))
    assert due_time(store, action) == soon


def test_a_held_action_stays_held_when_woken(store: Store) -> None:
    """Waking does not break a lease: the due index still looks at its end."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    store.wake([action.id])
    assert due_time(store, action) == held.now + STEP_LEASE


def test_missing_and_ended_actions_are_not_woken(store: Store) -> None:
    """A wake-up for something gone or over does nothing and needs no message."""
    action = make_action()
    created(store, action)
    store.claim(shard_of(store, action), owner="s", limit=0, first=True)
    finish(store, action)
    assert store.wake([action.id, make_action("ghost").id]) == ()
    assert store.due(shard_of(store, action)) == []


def test_an_ended_action_with_owed_clean_up_can_be_woken(store: Store) -> None:
    """Clean-up can be asked for after the end."""
    action = make_action()
    created(store, action)
    committed(store, success_write(claimed(store, action), keep_finalizer=True, due=store.now() + HOUR))
    store.wake([action.id])
    at = due_time(store, action)
    assert at is not None
    assert at <= store.now()


def test_waking_many_asks_each_shard_once(store: Store) -> None:
    """Actions of many runs are woken in one call; every shard is named once."""
    actions = [make_action(name, run=RunId("p", "d", f"run{n}")) for n in range(30) for name in ("x", "y")]
    created(store, *actions)
    shards = sorted({shard_of(store, action) for action in actions})
    for shard in shards:
        store.claim(shard, owner="s", limit=0, first=True)
    assert sorted(store.wake(action.id for action in actions)) == shards


def test_the_due_index_is_read_earliest_first(store: Store) -> None:
    """The index shows who waits, in order of time, as many as asked for."""
    now = store.now() + HOUR
    for name, at in (("c", now + 3), ("a", now + 5), ("b", now + 1)):
        sleeping(store, name, due=at)
    expected = [(make_action(name).id, at) for name, at in (("b", now + 1), ("c", now + 3), ("a", now + 5))]
    assert store.due(store.shard_of(RUN)) == expected
    assert store.due(store.shard_of(RUN), limit=2) == expected[:2]


def test_a_lost_message_is_noticed(store: Store, pass_time: PassTime) -> None:
    """A shard where something is due for longer than the grace is overdue, and not before."""
    action = make_action()
    shard = created(store, action)
    assert overdue(store, 60_000) == ()
    pass_time(20)
    assert overdue(store, 20) == (shard,)


def test_an_overdue_shard_counts_as_being_messaged(store: Store, pass_time: PassTime) -> None:
    """The sweep sends the message, so others need not, even when the mark of the lost one had just died."""
    shard = created(store, make_action())
    pass_time(PENDING_TTL + 1)
    assert overdue(store, 0) == (shard,)
    assert store.create([make_action("b")]).wake == ()


def test_a_mark_that_outlived_its_message_does_not_hold_the_sweep_back(store: Store) -> None:
    """Overdue shards are named while their mark still lives."""
    shard = created(store, make_action())
    assert overdue(store, 0) == (shard,)
    assert overdue(store, 0) == (shard,)


def test_a_look_says_which_shards_need_what(store: Store, pass_time: PassTime) -> None:
    """One look finds the overdue shards and those that need a countdown; quiet ones are left out."""
    now = store.now()
    late, soon, far = (RunId("p", "d", name) for name in ("late", "soon", "far"))
    assert len({store.shard_of(run) for run in (late, soon, far)}) == 3
    for run, at in ((soon, now + MAX_COUNTDOWN + 2_000), (far, now + HOUR)):
        action = make_action(run=run)
        created(store, action)
        committed(store, release_write(claimed(store, action), due=at))
    created(store, make_action(run=late))
    pass_time(2_010)
    found = {one.shard: (one.overdue, one.next_due) for one in store.look(30).late}
    accepted = store.get(make_action(run=late).id)
    assert accepted is not None
    assert found == {
        store.shard_of(late): (True, accepted.metadata.creation_timestamp),
        store.shard_of(soon): (False, now + MAX_COUNTDOWN + 2_000),
    }
    again = [one.shard for one in store.look(30).late]
    assert again == [store.shard_of(late)]


def test_a_worker_that_starts_asks_for_countdowns_anew(store: Store) -> None:
    """One that is armed may have died with the worker that held its message; whoever asks anew is given it once more."""
    action = make_action()
    created(store, action)
    at = store.now() + MAX_COUNTDOWN - 1000
    committed(store, release_write(claimed(store, action), due=at))
    shard = shard_of(store, action)
    assert store.look(30).late == ()
    assert [(one.shard, one.overdue, one.next_due) for one in store.look(30, anew=True).late] == [
        (shard, False, at)
    ]
    assert store.look(30).late == ()


def test_a_look_tells_the_time(store: Store) -> None:
    """Each line of a look carries the store's time, from which the countdown is reckoned."""
    before = store.now()
    created(store, make_action())
    (one,) = store.look(0).late
    assert before <= one.now <= store.now()


def test_a_nudge_asks_for_the_message_nobody_sent(store: Store) -> None:
    """Where something is due and no message is on its way one is asked for, once; else none is."""
    shard = store.shard_of(RUN)
    assert not store.nudge(shard)
    action = make_action()
    created(store, action)
    assert not store.nudge(shard)
    held = store.claim(shard, owner="s", limit=1, first=True).actions[0]
    assert not store.nudge(shard)
    committed(store, release_write(held, due=store.now()))
    assert store.nudge(shard)
    assert not store.nudge(shard)

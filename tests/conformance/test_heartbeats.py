from __future__ import annotations

import pytest
from support import (
    ATTEMPT_LEASE,
    GRACE,
    LINE,
    STEP_LEASE,
    PassTime,
    claimed,
    committed,
    due_time,
    get,
    launched,
    make_action,
    phase_write,
    release_write,
    reported,
    started,
    success_write,
)

from reconciler.api.action import AttemptOutcome, Deletion, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import Store
from reconciler.stores.beats import Beat

pytestmark = pytest.mark.rule("R34")
HOUR = 3_600_000


def beat(store: Store, action: TaskAction, *, launch: str = "1", owner: str = "w1") -> Beat:
    """Renew the lease."""
    return store.heartbeat(action.id, launch, owner=owner, lease=ATTEMPT_LEASE)


def running(store: Store, *, due: int = 0) -> TaskAction:
    """Return an action whose attempt runs."""
    action = make_action()
    launched(store, action, due=due)
    started(store, action)
    return action


def test_a_heartbeat_renews_the_lease(store: Store, pass_time: PassTime) -> None:
    """A beat moves the end of the lease and the look after it."""
    action = running(store)
    first = get(store, action).attempt.lease_until
    pass_time(5)
    assert beat(store, action) == Beat(alive=True)
    renewed = get(store, action).attempt.lease_until
    assert renewed >= first + 5
    assert due_time(store, action) == renewed + GRACE


@pytest.mark.rule("R34")
def test_heartbeats_never_move_a_look_past_what_a_step_asked_for(store: Store, pass_time: PassTime) -> None:
    """A limit of time is looked at in time, however alive the attempt is."""
    action = running(store)
    deadline = store.now() + ATTEMPT_LEASE + 300
    committed(store, release_write(claimed(store, action), due=deadline))
    assert due_time(store, action) == get(store, action).attempt.lease_until + GRACE
    for _ in range(3):
        pass_time(200)
        beat(store, action)
    assert due_time(store, action) == deadline


def test_heartbeats_never_move_a_look_past_a_later_wake_up(store: Store) -> None:
    """A wake-up for a coming time is kept by a running attempt's heartbeats."""
    action = running(store)
    at = store.now() + 30_000
    store.wake([action.id], at)
    beat(store, action)
    assert due_time(store, action) == at


def test_a_late_heartbeat_leaves_what_has_ended(store: Store) -> None:
    """A beat that comes after the report of a suspension puts off no sleep: there is no lease to look at any more."""
    action = running(store)
    assert reported(store, action, AttemptOutcome(ended="suspended"))
    wakes = store.now() + 1000
    committed(store, release_write(claimed(store, action), due=wakes))
    before = get(store, action)
    assert beat(store, action) == Beat(alive=True)
    assert due_time(store, action) == wakes
    assert get(store, action).attempt == before.attempt


def test_a_heartbeat_leaves_what_is_due_now(store: Store) -> None:
    """An action that waits for its step is not put off."""
    action = running(store)
    store.wake([action.id])
    woken = due_time(store, action)
    beat(store, action)
    assert due_time(store, action) == woken


def test_a_heartbeat_leaves_a_held_action_to_its_step(store: Store) -> None:
    """While a step holds the action the end of that step's lease stays in the due index."""
    action = running(store)
    held = claimed(store, action)
    beat(store, action)
    assert due_time(store, action) == held.now + STEP_LEASE
    committed(store, release_write(held))
    assert due_time(store, action) == get(store, action).attempt.lease_until + GRACE


def test_a_lost_watch_is_set_up_again(store: Store) -> None:
    """A running attempt is always looked at, also when its step asked never to be called."""
    action = running(store)
    committed(store, release_write(claimed(store, action), due=0))
    beat(store, action)
    assert due_time(store, action) == get(store, action).attempt.lease_until + GRACE


def test_a_lease_that_was_judged_is_not_looked_at_again(store: Store, pass_time: PassTime) -> None:
    """A step that saw the lease had ended decides when to look next: no hot loop."""
    action = make_action()
    launched(store, action)
    store.start_attempt(action.id, "1", owner="w1", lease=1)
    pass_time(GRACE + 5)
    at = store.now() + HOUR
    committed(store, release_write(claimed(store, action), due=at))
    assert due_time(store, action) == at


def test_a_heartbeat_brings_the_request_to_stop(store: Store) -> None:
    """The worker learns by its next beat that it shall stop, and why; it stays alive until it has."""
    action = running(store)
    store.stop_attempt(action.id, "timed out")
    assert get(store, action).attempt.stop == "timed out"
    assert beat(store, action) == Beat(alive=True, stop="timed out")


@pytest.mark.rule("R38")
def test_a_heartbeat_brings_an_abort(store: Store) -> None:
    """An abort reaches the worker by its next beat; a named reason to stop wins."""
    action = running(store)
    store.request_abort(action.id, Deletion(reason="no"))
    assert beat(store, action) == Beat(alive=True, stop="aborted")
    store.stop_attempt(action.id, "no")
    assert beat(store, action) == Beat(alive=True, stop="no")


def test_a_stranger_has_no_heartbeat(store: Store) -> None:
    """Another launch, another worker, an ended or a missing action: the attempt is not ours any more."""
    superseded = Beat(alive=False, stop="superseded")
    action = running(store)
    lease = get(store, action).attempt.lease_until
    assert beat(store, action, launch="0") == superseded
    assert beat(store, action, owner="w2") == superseded
    assert beat(store, make_action("ghost")) == superseded
    assert get(store, action).attempt.lease_until == lease
    committed(store, success_write(claimed(store, action), keep_finalizer=True))
    assert beat(store, action) == superseded


def test_a_heartbeat_brings_progress(store: Store) -> None:
    """The last that was said stays, a later launch has none yet, and a stranger says nothing."""
    action = running(store)
    for said in (b'{"state":"PROGRESS","meta":{"done":1}}', b""):
        store.heartbeat(action.id, "1", owner="w1", lease=ATTEMPT_LEASE, progress=said)
    store.heartbeat(action.id, "1", owner="w2", lease=ATTEMPT_LEASE, progress=b'{"state":"OTHER"}')
    found = get(store, action).attempt.progress
    assert found is not None
    assert (found.state, found.meta) == ("PROGRESS", {"done": 1})
    assert 0 < found.at <= store.now()
    write = phase_write(claimed(store, action), ActionPhase.RUNNING, launch=("1-1", LINE))
    committed(store, write)
    assert get(store, action).attempt.progress is None

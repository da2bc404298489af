from __future__ import annotations

import pytest
from support import (
    ATTEMPT_LEASE,
    GRACE,
    LINE,
    STEP_LEASE,
    claimed,
    committed,
    created,
    due_time,
    get,
    launched,
    make_action,
    release_write,
    reported,
    started,
    success_write,
)

from reconciler.api.action import AttemptOutcome, Deletion, TaskAction
from reconciler.api.transition import OutputRef
from reconciler.stores.base import StartRefused, Store
from reconciler.stores.beats import Beat

pytestmark = pytest.mark.rule("R29")
HOUR = 3_600_000
RETURNED = AttemptOutcome(ended="returned", outputs=OutputRef(uri="s3://b/o", sha256="00", size=3))


def start(
    store: Store, action: TaskAction, *, launch: str = "1", owner: str = "w1"
) -> TaskAction | StartRefused:
    """Start an attempt, or hear why not."""
    return store.start_attempt(action.id, launch, owner=owner, lease=ATTEMPT_LEASE)


def beat(store: Store, action: TaskAction, *, launch: str = "1", owner: str = "w1") -> Beat:
    """Renew the lease."""
    return store.heartbeat(action.id, launch, owner=owner, lease=ATTEMPT_LEASE)


def finish(store: Store, action: TaskAction, *, launch: str = "1", owner: str = "w1") -> bool:
    """Report that the attempt returned."""
    return reported(store, action, RETURNED, owner=owner, launch=launch)


def running(store: Store, *, due: int = 0) -> TaskAction:
    """Return an action whose attempt runs."""
    action = make_action()
    launched(store, action, due=due)
    started(store, action)
    return action


def test_a_worker_gets_the_record_and_a_lease(store: Store) -> None:
    """The start hands out the record, with owner, start and end of the lease by the store's clock."""
    action = make_action()
    launched(store, action)
    before = store.now()
    record = started(store, action)
    assert record.spec == action.spec
    attempt = get(store, action).attempt
    assert attempt == record.attempt
    assert (attempt.launch, attempt.owner) == ("1", "w1")
    assert before <= attempt.started_at == record.now
    assert attempt.lease_until == attempt.started_at + ATTEMPT_LEASE


def test_a_missing_action_is_not_started(store: Store) -> None:
    """A launch message outlives its action."""
    assert start(store, make_action("ghost")) is StartRefused.GONE


def test_an_ended_action_is_not_started(store: Store) -> None:
    """A late launch message finds the end."""
    action = make_action()
    launched(store, action)
    committed(store, success_write(claimed(store, action), keep_finalizer=True))
    assert start(store, action) is StartRefused.ENDED


@pytest.mark.rule("R38")
def test_an_aborting_action_is_not_started(store: Store) -> None:
    """Once an abort is stored no attempt begins."""
    action = make_action()
    launched(store, action)
    store.request_abort(action.id, Deletion(reason="no"))
    assert start(store, action) is StartRefused.ABORTING


def test_an_attempt_asked_to_stop_is_not_started(store: Store) -> None:
    """A stop that came before the start fences the launch off."""
    action = make_action()
    launched(store, action)
    store.stop_attempt(action.id, "slow")
    assert start(store, action) is StartRefused.ABORTING


def test_another_launch_is_superseded(store: Store) -> None:
    """Only the launch the record names may start, and none before there is one."""
    fresh, action = make_action("fresh"), make_action()
    created(store, fresh)
    assert start(store, fresh) is StartRefused.SUPERSEDED
    launched(store, action, launch="2")
    assert start(store, action, launch="1") is StartRefused.SUPERSEDED


@pytest.mark.parametrize("owner", ["w1", "w2"])
def test_a_doubled_message_starts_once(store: Store, owner: str) -> None:
    """A second delivery of a launch is refused, whoever gets it; the lease stays with the first."""
    action = running(store)
    assert start(store, action, owner=owner) is StartRefused.TAKEN
    assert get(store, action).attempt.owner == "w1"


def test_a_start_watches_the_lease(store: Store) -> None:
    """From its start on somebody looks shortly after the lease ends, even if nothing else was due."""
    action = running(store)
    assert due_time(store, action) == get(store, action).attempt.lease_until + GRACE


def test_a_start_keeps_an_earlier_look(store: Store) -> None:
    """What was to be looked at before the lease ends still is."""
    at = store.now() + 5_000
    assert due_time(store, running(store, due=at)) == at


def test_a_lease_taken_during_a_step_is_watched_after_it(store: Store) -> None:
    """A step that knows nothing of the start cannot put the look after the end of the lease."""
    action = make_action()
    launched(store, action)
    held = claimed(store, action)
    assert isinstance(store.start_attempt(action.id, "1", owner="w1", lease=5), TaskAction)
    assert due_time(store, action) == held.now + STEP_LEASE
    committed(store, release_write(held, due=store.now() + HOUR))
    assert due_time(store, action) == get(store, action).attempt.lease_until + GRACE


def test_a_launch_sent_again_leaves_its_worker_alone(store: Store) -> None:
    """A worker that starts a launch while a step sends it again keeps its lease, and stays the only one (seed 44)."""
    action = make_action()
    launched(store, action)
    step = claimed(store, action)
    started(store, action)
    committed(store, release_write(step, due=store.now() + HOUR, launch=("1", LINE)))
    assert start(store, action, owner="w2") is StartRefused.TAKEN
    assert beat(store, action).alive
    assert finish(store, action)


def test_a_launch_sent_again_is_watched(store: Store) -> None:
    """The lease of a worker that starts a launch while it is sent again is looked at when it ends, not later."""
    action = make_action()
    launched(store, action)
    step = claimed(store, action)
    until = started(store, action).attempt.lease_until
    committed(store, release_write(step, due=store.now() + HOUR, launch=("1", LINE)))
    assert due_time(store, action) == until + GRACE


def test_a_relaunch_supersedes_the_worker_before(store: Store) -> None:
    """A worker that was taken for dead and wakes up can neither beat nor report."""
    action = running(store)
    committed(store, release_write(claimed(store, action), launch=("1-1", LINE)))
    assert beat(store, action) == Beat(alive=False, stop="superseded")
    assert not finish(store, action)
    assert isinstance(start(store, action, launch="1-1", owner="w2"), TaskAction)
    assert get(store, action).attempt.outcome is None


def test_an_outcome_is_recorded_and_wakes(store: Store) -> None:
    """The end of an attempt is stored with its time, ends the lease, and makes the action due."""
    action = running(store)
    before = store.now()
    assert finish(store, action)
    attempt = get(store, action).attempt
    assert attempt.outcome is not None
    assert (attempt.outcome.ended, attempt.outcome.outputs) == ("returned", RETURNED.outputs)
    assert before <= attempt.outcome.at <= store.now()
    assert attempt.lease_until == 0
    at = due_time(store, action)
    assert at is not None
    assert at <= store.now()


def test_an_outcome_is_recorded_once(store: Store) -> None:
    """Reporting again is answered with yes, and the first outcome stands."""
    action = running(store)
    assert finish(store, action)
    other = AttemptOutcome(ended="raised", code="E", message="m")
    assert reported(store, action, other)
    outcome = get(store, action).attempt.outcome
    assert outcome is not None
    assert outcome.ended == "returned"


def test_a_stranger_may_not_report(store: Store) -> None:
    """Another launch, another worker, an ended or a missing action: the outcome is not taken."""
    action = running(store)
    assert not finish(store, action, launch="0")
    assert not finish(store, action, owner="w2")
    assert not finish(store, make_action("ghost"))
    assert get(store, action).attempt.outcome is None
    committed(store, success_write(claimed(store, action), keep_finalizer=True))
    assert not finish(store, action)


def test_an_outcome_during_a_step_is_seen_after_it(store: Store) -> None:
    """An attempt that ends while a step holds the action makes it due as soon as the step ends."""
    action = running(store)
    held = claimed(store, action)
    assert finish(store, action)
    assert due_time(store, action) == held.now + STEP_LEASE
    committed(store, release_write(held, due=store.now() + HOUR))
    at = due_time(store, action)
    assert at is not None
    assert at <= store.now()
    assert claimed(store, action).attempt.outcome is not None


def test_an_ended_attempt_is_not_watched(store: Store) -> None:
    """After its outcome only the step's own request counts."""
    action = running(store)
    finish(store, action)
    at = store.now() + HOUR
    committed(store, release_write(claimed(store, action), due=at))
    assert due_time(store, action) == at


def test_stopping_needs_a_launch(store: Store) -> None:
    """Where nothing was launched there is nothing to stop, and nothing is stored."""
    fresh = make_action()
    created(store, fresh)
    store.stop_attempt(fresh.id, "why")
    store.stop_attempt(make_action("ghost").id, "why")
    assert get(store, fresh).attempt.stop == ""
    assert store.get(make_action("ghost").id) is None
    committed(store, release_write(claimed(store, fresh), launch=("1", LINE)))
    assert isinstance(start(store, fresh), TaskAction)

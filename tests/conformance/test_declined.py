"""A launch that its worker cannot run goes back, and who can run a function is known for as long as the workers live."""

from __future__ import annotations

import pytest
from support import (
    ATTEMPT_LEASE,
    LINE,
    PassTime,
    claimed,
    committed,
    due_time,
    get,
    launched,
    make_action,
    release_write,
    reported,
    started,
)

from reconciler.api.action import AttemptOutcome, Deletion, TaskAction
from reconciler.api.hand_back import HandBack
from reconciler.stores.base import StartRefused, Store
from reconciler.stores.known import Known

pytestmark = pytest.mark.rule("R74")
DELAY = 250
UNFIT = "0123456789abcdef"
WHY = 'worker "a" does not know it'


def declined(store: Store, action: TaskAction, *, launch: str = "1", owner: str = "w1") -> bool:
    """Hand the launch back."""
    return store.decline_attempt(
        action.id, launch, owner=owner, why=WHY, delay=DELAY, unfit=UNFIT, lacks="g.db"
    )


def running(store: Store, *, due: int = 0) -> TaskAction:
    """Return an action whose attempt runs."""
    action = make_action()
    launched(store, action, due=due)
    started(store, action)
    return action


def test_it_goes_back_at_once(store: Store) -> None:
    """Its lease is gone, the reason stays, the action is due soon, and nothing of the status is touched."""
    action = running(store)
    version = get(store, action).version
    before = store.now()
    assert declined(store, action)
    found = get(store, action)
    assert (found.attempt.owner, found.attempt.lease_until, found.attempt.started_at) == ("", 0, 0)
    assert found.attempt.handed_back is not None
    until = found.attempt.handed_back.until
    assert found.attempt.handed_back == HandBack(why=WHY, until=until, unfit=UNFIT, lacks="g.db")
    assert before + DELAY <= until <= store.now() + DELAY
    assert found.attempt.hand_backs == 1
    assert due_time(store, action) == until
    assert (found.version, found.attempt.launch, found.attempt.outcome) == (version, "1", None)


def test_it_is_counted(store: Store) -> None:
    """The worker that gets the launch next is told how often it was handed back: the delay grows with it."""
    action = running(store)
    for count in range(1, 4):
        assert declined(store, action)
        assert started(store, action).attempt.hand_backs == count


def test_whoever_starts_it_next_ends_the_hand_back(store: Store) -> None:
    """Another worker takes the same launch: the hand-back is over, and its lease is its own."""
    action = running(store)
    assert declined(store, action)
    record = store.start_attempt(action.id, "1", owner="w2", lease=ATTEMPT_LEASE)
    assert not isinstance(record, StartRefused)
    assert (record.attempt.owner, record.attempt.handed_back) == ("w2", None)
    assert not declined(store, action)
    assert get(store, action).attempt.owner == "w2"


def test_only_the_owner_may(store: Store) -> None:
    """Another worker, another launch, a reported one, an ended action, a ghost: superseded, and nothing changes."""
    action = running(store)
    assert not declined(store, action, owner="w2")
    assert not declined(store, action, launch="1-1")
    assert not declined(store, make_action("ghost"))
    assert get(store, action).attempt.owner == "w1"
    assert reported(store, action, AttemptOutcome(ended="stopped"))
    assert not declined(store, action)
    assert get(store, action).attempt.handed_back is None


def test_twice_is_once(store: Store) -> None:
    """Said again because the answer got lost, it changes nothing more."""
    action = running(store)
    assert declined(store, action)
    before = get(store, action).attempt
    assert not declined(store, action)
    assert get(store, action).attempt == before


def test_an_earlier_request_of_a_step_stays(store: Store) -> None:
    """A limit of time that a step wants to look at is not put off by the delay."""
    action = make_action()
    launched(store, action, due=store.now() + 100)
    request = due_time(store, action)
    started(store, action)
    assert declined(store, action)
    assert due_time(store, action) == request


def test_an_abort_does_not_wait_for_the_delay(store: Store) -> None:
    """What shall stop has stopped: the step that ends it is due at once."""
    action = running(store)
    store.request_abort(action.id, Deletion(at=0, reason="enough"))
    assert declined(store, action)
    due = due_time(store, action)
    assert due is not None
    assert due <= store.now()


def test_while_a_step_holds_it(store: Store) -> None:
    """The step that holds the action writes its own due time, but never later than the hand-back wants."""
    action = running(store)
    held = claimed(store, action)
    assert declined(store, action)
    back = get(store, action).attempt.handed_back
    assert back is not None
    committed(store, release_write(held, due=store.now() + 3_600_000))
    assert due_time(store, action) == back.until


def test_sent_again_it_waits_for_a_worker(store: Store) -> None:
    """A commit that sends the launch again ends the hand-back; another launch counts anew."""
    action = running(store)
    assert declined(store, action)
    launched_again = claimed(store, action)
    committed(store, release_write(launched_again, launch=("1", LINE), due=store.now() + 60_000))
    assert get(store, action).attempt.handed_back is None
    started(store, action)
    assert declined(store, action)
    assert get(store, action).attempt.hand_backs == 2
    committed(store, release_write(claimed(store, action), launch=("1-1", LINE), due=store.now()))
    store.start_attempt(action.id, "1-1", owner="w1", lease=ATTEMPT_LEASE)
    assert declined(store, action, launch="1-1")
    assert get(store, action).attempt.hand_backs == 1


def test_an_earlier_life_of_the_name_cannot(store: Store) -> None:
    """A late worker of another incarnation of the run hands nothing back."""
    action = running(store)
    assert not store.decline_attempt(action.id, "1", owner="w1", why=WHY, delay=DELAY, incarnation="another")
    assert get(store, action).attempt.owner == "w1"


def test_functions_are_known_while_their_worker_lives(store: Store, pass_time: PassTime) -> None:
    """Each worker tells for a while; the answer counts those that live, and names the interfaces of a function."""
    assert store.find_function("q", "env.f") == Known()
    store.tell_functions("a@h", "q", {"env.f": "0123456789abcdef", "env.g": "11"}, 60_000)
    store.tell_functions("b@h", "q", {"env.f": "fedcba9876543210"}, 60_000)
    store.tell_functions("c@h", "other", {"env.h": "22"}, 60_000)
    known = store.find_function("q", "env.f")
    assert (known.workers, known.digests) == (2, ("0123456789abcdef", "fedcba9876543210"))
    assert store.find_function("q", "env.g").digests == ("11",)
    for stranger in ("env", "f", "env.", "env.h", "v.f"):
        assert store.find_function("q", stranger) == Known(2, known.since, ())
    store.tell_functions("b@h", "q", {}, 0)
    assert store.find_function("q", "env.f") == Known(1, known.since, ("0123456789abcdef",))
    store.tell_functions("a@h", "q", {"env.g": "12"}, 200)
    assert store.find_function("q", "env.f") == Known(1, known.since, ())
    pass_time(250)
    assert store.find_function("q", "env.g") == Known()


def test_a_worker_tells_which_secrets_it_lacks(store: Store) -> None:
    """Beside workers that have them, its function is theirs; nobody takes the word for a function."""
    store.tell_functions("a@h", "q", {"!env.f": "db g.api-key", "env.g": "12"}, 60_000)
    known = store.find_function("q", "env.f")
    assert known == Known(1, known.since, (), ("db", "g.api-key"))
    assert store.find_function("q", "env.g").lacks == ()
    store.tell_functions("b@h", "q", {"!env.f": "db", "env.ff": "13"}, 60_000)
    store.tell_functions("c@h", "q", {"env.f": "11"}, 60_000)
    assert store.find_function("q", "env.f") == Known(3, known.since, ("11",), ("db", "g.api-key"))


def test_since_when_a_queue_is_served(store: Store, pass_time: PassTime) -> None:
    """The time runs while there is always a living worker, and begins anew once there was none."""
    store.tell_functions("a@h", "q", {}, 60_000)
    first = store.find_function("q", "f").since
    assert 0 < first <= store.now()
    pass_time(20)
    store.tell_functions("b@h", "q", {}, 300)
    store.tell_functions("a@h", "q", {}, 0)
    assert store.find_function("q", "f").since == first
    pass_time(350)
    assert store.find_function("q", "f").since == 0
    store.tell_functions("b@h", "q", {}, 300)
    assert store.find_function("q", "f").since > first + 300

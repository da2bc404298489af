"""Attempts that end together with their steps: taken as one while the record is as it was drawn, else the outcome alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest
from line_support import HOUR, draw, given_back, line, many, names, stand
from msgspec.structs import replace
from support import (
    RUN,
    STEP_LEASE,
    PassTime,
    claimed,
    committed,
    created,
    due_time,
    finish,
    get,
    launched,
    make_action,
    phase_write,
    release_write,
    reported,
    shard_of,
    success_write,
)

from reconciler.api.action import AttemptOutcome, Deletion, Metadata, TaskAction, record_name
from reconciler.api.phase import ActionPhase
from reconciler.api.tokens import FencingToken
from reconciler.api.transition import OutputRef
from reconciler.stores.base import CommitOutcome, Finished, Store, Write
from reconciler.stores.concluding import Concluded, ConcludeReport, Ending
from reconciler.stores.redis.store import RedisStore

pytestmark = pytest.mark.rule("R6", "R74")
RETURNED = AttemptOutcome(ended="returned", outputs=OutputRef(uri="s3://b/o", sha256="00", size=3))
RAISED = AttemptOutcome(ended="raised", code="ValueError", message="no")


def drawn(store: Store, action: TaskAction | None = None) -> TaskAction:
    """Return an action as a worker drew it."""
    action = action or make_action()
    launched(store, action, due=store.now() + HOUR)
    (record,) = draw(store, action).actions
    return record


def ended(
    record: TaskAction,
    decide: Callable[[TaskAction], Write | None] = success_write,
    outcome: AttemptOutcome = RETURNED,
) -> Concluded:
    """Return the end of a drawn launch, with what is decided on the record a claim would give."""
    as_claimed = record.copy()
    as_claimed.token, as_claimed.now = FencingToken(record.token + 1), record.attempt.started_at
    ended_at = replace(outcome, at=as_claimed.now)
    as_claimed.attempt = replace(record.attempt, outcome=ended_at, lease_until=0)
    done = Finished(record.id, record.attempt.launch, outcome, record.metadata.incarnation)
    return Concluded(done, decide(as_claimed))


def conclude(store: Store, *ends: Concluded, owner: str = "w1") -> ConcludeReport:
    """Tell the ends of launches of one shard."""
    return store.conclude(store.shard_of(ends[0].finished.action.run_id), owner, ends)


def left_to_its_step(store: Store, record: TaskAction) -> None:
    """Check that the outcome is stored, nothing else, and that its action is due."""
    found, at = get(store, record), due_time(store, record)
    assert found.attempt.outcome is not None
    assert found.attempt.outcome.ended == "returned"
    assert not found.phase.is_terminal()
    assert at is not None
    assert at <= store.now()


def test_as_drawn_it_ends_at_once(store: Store) -> None:
    """The outcome is taken and the step committed: status, event, counts, no due time, nobody may report any more."""
    record = drawn(store)
    report = conclude(store, ended(record))
    assert report.endings == (Ending.WRITTEN,)
    assert report.commit is not None
    assert report.commit.outcomes == (CommitOutcome.DONE,)
    found = get(store, record)
    assert (found.phase, found.version) == (ActionPhase.SUCCEEDED, record.version + 1)
    assert (found.attempt.launch, found.token, found.metadata.finalizers) == ("", 0, ())
    assert [one.phase for one in store.events(record.id)][-1] is ActionPhase.SUCCEEDED
    counts = store.counts(RUN)
    assert counts is not None
    assert counts.phases == {ActionPhase.SUCCEEDED: 1}
    assert due_time(store, record) is None


@pytest.mark.parametrize("keeps", [False, True])
def test_a_repetition_is_told_the_same(store: Store, *, keeps: bool) -> None:
    """The answer got lost: told again, it has been written, and is written once. Its outputs are nobody's garbage."""
    record = drawn(store)
    one = ended(record, lambda r: success_write(r, keep_finalizer=keeps, due=r.now))
    first = conclude(store, one)
    found, events = get(store, record), store.events(record.id)
    again = conclude(store, one)
    assert again.endings == first.endings == (Ending.WRITTEN,)
    assert again.commit is not None
    assert again.commit.outcomes == (CommitOutcome.DONE,)
    assert get(store, record).version == found.version
    assert store.events(record.id) == events


def test_a_repetition_after_its_retry_began(store: Store) -> None:
    """Also when the next attempt has been drawn meanwhile, which nobody else's outcome may touch."""
    record = drawn(store)
    one = ended(record, lambda r: phase_write(r, ActionPhase.RUNNING, launch=("2", line())), RAISED)
    conclude(store, one)
    (second,) = draw(store, record).actions
    assert conclude(store, one).endings == (Ending.WRITTEN,)
    assert get(store, record).attempt == second.attempt


def test_another_outcome_is_no_repetition(store: Store) -> None:
    """What ended otherwise meanwhile is superseded, whatever is told of it."""
    record = drawn(store)
    conclude(store, ended(record))
    other = ended(record, lambda r: phase_write(r, ActionPhase.FAILED), RAISED)
    assert conclude(store, other).endings == (Ending.SUPERSEDED,)
    assert get(store, record).phase is ActionPhase.SUCCEEDED


def test_a_failed_attempt_stands_in_line_again(store: Store) -> None:
    """The next launch is in the line, which is to be announced, and nothing of the last one is left."""
    record = drawn(store)
    later = store.now() + HOUR
    retry = partial(phase_write, phase=ActionPhase.RUNNING, due=later, launch=("2", line()))
    report = conclude(store, ended(record, retry, RAISED))
    assert report.endings == (Ending.WRITTEN,)
    assert report.commit is not None
    assert [head.line for head in report.commit.opened] == [line()]
    found = get(store, record)
    assert (found.attempt.launch, found.attempt.owner, found.attempt.outcome) == ("2", "", None)
    assert found.token == record.token + 1
    assert due_time(store, record) == later
    (second,) = draw(store, record).actions
    assert second.attempt.launch == "2"
    assert conclude(store, ended(second)).endings == (Ending.WRITTEN,)


def test_without_a_decision_only_the_outcome_is_stored(store: Store) -> None:
    """As `finish_attempts` does; told again, it is taken again."""
    record = drawn(store)
    one = ended(record, lambda _: None)
    assert conclude(store, one).endings == (Ending.RECORDED,)
    left_to_its_step(store, record)
    assert conclude(store, one).endings == (Ending.RECORDED,)
    finish(store, record)
    assert conclude(store, one).endings == (Ending.SUPERSEDED,)


def abort(store: Store, record: TaskAction) -> None:
    """Ask for its end."""
    store.request_abort(record.id, Deletion(actor="ada"))


def stop(store: Store, record: TaskAction) -> None:
    """Ask its attempt to stop."""
    store.stop_attempt(record.id, "enough")


def step(store: Store, record: TaskAction) -> None:
    """Let another step look at it."""
    committed(store, release_write(claimed(store, record), due=store.now() + HOUR))


def write(store: Store, record: TaskAction) -> None:
    """Let another step write its status."""
    committed(store, phase_write(claimed(store, record), ActionPhase.RUNNING, due=store.now() + HOUR))


def start_child(store: Store, record: TaskAction) -> None:
    """Add an action below it."""
    created(store, make_action("child", parent=record.id.action))


def tell_before(store: Store, record: TaskAction) -> None:
    """Tell the outcome the old way."""
    assert reported(store, record, RETURNED)


@pytest.mark.parametrize("change", [abort, stop, step, write, start_child, tell_before])
def test_what_has_changed_is_left_to_its_step(
    store: Store, change: Callable[[Store, TaskAction], None]
) -> None:
    """The decision did not know of it; the outcome is kept, and the step that follows decides anew."""
    record = drawn(store)
    change(store, record)
    report = conclude(store, ended(record))
    assert report.endings == (Ending.RECORDED,)
    assert report.commit is not None
    assert report.commit.outcomes == ()
    left_to_its_step(store, record)
    finish(store, record)
    assert get(store, record).phase is ActionPhase.SUCCEEDED


def test_held_by_a_step_it_is_left_to_the_next(store: Store) -> None:
    """The token would be the same as that of the step at work; only the step writes, and the next one sees the outcome."""
    record = drawn(store)
    held = claimed(store, record)
    assert held.token == record.token + 1
    assert conclude(store, ended(record)).endings == (Ending.RECORDED,)
    assert not get(store, record).phase.is_terminal()
    committed(store, release_write(held, due=store.now() + HOUR))
    left_to_its_step(store, record)


def test_after_a_step_that_died_it_is_left_to_the_next(store: Store, pass_time: PassTime) -> None:
    """Its lease has run out, and the next claim counts it."""
    record = drawn(store)
    claimed(store, record)
    pass_time(STEP_LEASE + 1)
    assert conclude(store, ended(record)).endings == (Ending.RECORDED,)
    assert claimed(store, record).abandoned == 1


def test_a_wake_is_not_lost(store: Store) -> None:
    """What somebody wanted to be looked at is looked at now, though the decision says later."""
    record = drawn(store)
    store.wake([record.id])
    later = store.now() + HOUR
    retry = ended(record, lambda r: phase_write(r, ActionPhase.RUNNING, due=later), RAISED)
    assert conclude(store, retry).endings == (Ending.RECORDED,)
    at = due_time(store, record)
    assert at is not None
    assert at <= store.now()


@pytest.mark.parametrize("launch", ["1", "2"])
def test_of_another_launch_or_owner_it_is_superseded(store: Store, launch: str) -> None:
    """The fence of the launch holds: nothing is written."""
    record = drawn(store)
    told = ended(record)
    told = replace(told, finished=replace(told.finished, launch=launch))
    owner = "w2" if launch == "1" else "w1"
    assert conclude(store, told, owner=owner).endings == (Ending.SUPERSEDED,)
    found = get(store, record)
    assert (found.version, found.attempt) == (record.version, record.attempt)


def test_given_back_and_drawn_by_another_it_is_superseded(store: Store) -> None:
    """No step has moved the token; the owner has changed."""
    record = drawn(store)
    given_back(store, record)
    assert names(draw(store, record, owner="w2")) == ["a0"]
    assert conclude(store, ended(record)).endings == (Ending.SUPERSEDED,)
    assert get(store, record).attempt.owner == "w2"


def test_of_another_incarnation_it_is_superseded(store: Store) -> None:
    """A name that is in use again has nothing to do with what ran under it before."""
    action = make_action()
    action.metadata = Metadata(
        namespace="flyte", name=record_name(action.id, action.spec), incarnation="abcdefghij"
    )
    record = drawn(store, action)
    told = ended(record)
    told = replace(told, finished=replace(told.finished, incarnation="bcdefghijk"))
    assert conclude(store, told).endings == (Ending.SUPERSEDED,)
    assert not get(store, record).phase.is_terminal()
    assert conclude(store, ended(record)).endings == (Ending.WRITTEN,)


def test_a_missing_one_is_superseded(store: Store) -> None:
    """It was forgotten meanwhile."""
    record = drawn(store)
    ghost = replace(ended(record).finished, action=RUN.action("ghost"))
    assert conclude(store, Concluded(ghost)).endings == (Ending.SUPERSEDED,)
    own = ended(record)
    assert own.write is not None
    gone = own.write.action.copy()
    gone.id = ghost.action
    told = Concluded(ghost, replace(own.write, action=gone, original=gone))
    assert conclude(store, told).endings == (Ending.SUPERSEDED,)


def test_one_that_changed_holds_up_no_other(store: Store) -> None:
    """Each by its own fence, in the order asked; parents count their children as after any commit."""
    parent = make_action("p")
    created(store, parent)
    step(store, parent)
    actions = many(16)
    for action in actions:
        action.spec = replace(action.spec, parent_action_name="p")
    stand(store, actions)
    records = draw(store, actions[0], limit=4).actions
    abort(store, records[1])
    step(store, records[2])
    told = [ended(record) for record in records]
    told[3] = replace(told[3], finished=replace(told[3].finished, launch="other"))
    report = conclude(store, *told)
    assert report.endings == (Ending.WRITTEN, Ending.RECORDED, Ending.RECORDED, Ending.SUPERSEDED)
    assert report.commit is not None
    assert report.commit.outcomes == (CommitOutcome.DONE,)
    assert report.commit.next_due <= report.commit.now
    assert get(store, parent).children.open == 15
    for record in records[1:3]:
        finish(store, record)
    assert conclude(store, ended(records[3])).endings == (Ending.WRITTEN,)
    assert get(store, parent).children.open == 12


def test_what_cannot_be_written_changes_nothing(store: Store) -> None:
    """One decision without a JSON form spoils the call before anything is stored."""
    good, bad = drawn(store, make_action("a")), drawn(store, make_action("b"))
    told = ended(bad)
    assert told.write is not None
    told.write.action.set_status(plugin_phase="\udc00")
    with pytest.raises(ValueError, match="surrogates"):
        store.conclude(shard_of(store, good), "w1", [ended(good), told])
    assert get(store, good).attempt.outcome is None
    assert get(store, bad).attempt.outcome is None


def test_told_twice_in_one_call_it_is_written_once(store: Store) -> None:
    """One event and one count of its end; the second mention is left to a step, which finds that it has ended."""
    record = drawn(store)
    told = ended(record)
    assert conclude(store, told, told).endings == (Ending.WRITTEN, Ending.RECORDED)
    assert [one.phase for one in store.events(record.id)].count(ActionPhase.SUCCEEDED) == 1
    counts = store.counts(RUN)
    assert counts is not None
    assert counts.phases == {ActionPhase.SUCCEEDED: 1}
    found = get(store, record)
    assert (found.attempt.launch, found.attempt.outcome) == ("", None)
    assert store.claim(shard_of(store, record), owner="s", limit=9, named=[record.id]).actions == []


@contextmanager
def full(store: RedisStore, shard: int) -> Iterator[None]:
    """Let the server have no memory left."""
    del shard
    store.client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        store.client.config_set("maxmemory", "0")


@contextmanager
def foreign(store: RedisStore, shard: int) -> Iterator[None]:
    """Let somebody have written over the channel of events."""
    key = store.keys.events(shard)
    kept = store.client.dump(key)
    store.client.set(key, "x")
    try:
        yield
    finally:
        store.client.restore(key, 0, kept, replace=True)


@pytest.mark.parametrize("harm", [full, foreign])
@pytest.mark.parametrize("kind", [pytest.param("valkey", marks=pytest.mark.servers)])
def test_where_no_step_can_be_written_the_outcomes_are_kept(
    store: RedisStore, harm: Callable[[RedisStore, int], AbstractContextManager[None]]
) -> None:
    """A server that refuses the step takes the outcomes all the same: no attempt runs a second time for it."""
    records = [drawn(store, make_action(name)) for name in ("a", "b")]
    with harm(store, shard_of(store, records[0])):
        report = conclude(store, *map(ended, records))
    assert report == ConcludeReport((Ending.RECORDED,) * 2)
    for record in records:
        left_to_its_step(store, record)
        finish(store, record)

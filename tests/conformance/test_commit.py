from __future__ import annotations

import msgspec
import pytest
from support import (
    LINE,
    RUN,
    STEP_LEASE,
    PassTime,
    claim,
    claimed,
    committed,
    created,
    due_time,
    event,
    get,
    launched,
    make_action,
    phase_write,
    release_write,
    shard_of,
    success_write,
)

from reconciler.api.action import FINALIZER
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import CommitOutcome, CommitReport, Store, Write

pytestmark = pytest.mark.rule("R6")


def commit(store: Store, *writes: Write) -> CommitReport:
    """Commit writes of one shard."""
    return store.commit(shard_of(store, writes[0].action), writes)


def test_status_event_due_and_counter_are_one_write(store: Store) -> None:
    """After a commit the status, its event, the due time and the counters agree."""
    action = make_action()
    created(store, action)
    at = store.now() + 60_000
    write = phase_write(claimed(store, action), ActionPhase.RUNNING, due=at)
    report = commit(store, write)
    assert report.outcomes == (CommitOutcome.DONE,)
    record = get(store, action)
    assert (record.phase, record.version, record.events) == (ActionPhase.RUNNING, 2, 2)
    assert record.status == write.action.status
    assert [e.phase for e in store.events(action.id)] == [ActionPhase.QUEUED, ActionPhase.RUNNING]
    assert due_time(store, action) == at
    counts = store.counts(RUN)
    assert counts is not None
    assert counts.phases == {ActionPhase.RUNNING: 1}


def test_an_end_leaves_only_what_is_read_later(store: Store) -> None:
    """An ended action is not due, owes nothing, and has given its claim, launch and lease back."""
    action = make_action()
    launched(store, action)
    committed(store, success_write(claimed(store, action)))
    record = get(store, action)
    assert record.phase is ActionPhase.SUCCEEDED
    assert record.is_terminal
    assert (record.token, record.attempt.launch, record.metadata.finalizers) == (0, "", ())
    assert record.metadata.completed_at > 0
    assert due_time(store, action) is None


def test_a_release_changes_nothing_but_the_due_time(store: Store) -> None:
    """A round without a change writes no version and no event; the action can be claimed at once."""
    action = make_action()
    created(store, action)
    at = store.now() + 60_000
    committed(store, release_write(claimed(store, action), due=at))
    record = get(store, action)
    assert (record.version, record.events) == (1, 1)
    assert due_time(store, action) == at
    assert claimed(store, action).token == 2


def test_a_stale_token_is_superseded(store: Store, pass_time: PassTime) -> None:
    """Only the newest claim may write; the loser changes nothing."""
    action = make_action()
    created(store, action)
    stale = claimed(store, action)
    pass_time(STEP_LEASE + 1)
    claimed(store, action)
    assert commit(store, success_write(stale)).outcomes == (CommitOutcome.SUPERSEDED,)
    record = get(store, action)
    assert (record.phase, record.version, record.events) == (ActionPhase.QUEUED, 1, 1)


def test_another_version_under_the_same_token_is_superseded(store: Store) -> None:
    """A server promoted with an older state counts tokens anew: what was decided from a later state is not mixed into it."""
    action = make_action()
    created(store, action)
    write = success_write(claimed(store, action))
    write.original.version += 1
    assert commit(store, write).outcomes == (CommitOutcome.SUPERSEDED,)
    assert get(store, action).phase is ActionPhase.QUEUED


def test_a_late_write_is_taken_while_nobody_else_claimed(store: Store, pass_time: PassTime) -> None:
    """A slow step whose lease ran out may still write as long as its token is the newest."""
    action = make_action()
    created(store, action)
    slow = claimed(store, action)
    pass_time(STEP_LEASE + 1)
    committed(store, success_write(slow))


@pytest.mark.parametrize("phase", [ActionPhase.RUNNING, ActionPhase.SUCCEEDED])
def test_the_same_commit_twice_is_written_once(store: Store, phase: ActionPhase) -> None:
    """A step that missed the answer and writes again is superseded: no second event, no second count."""
    root, action = make_action(), make_action("c", parent="a0")
    created(store, root, action)
    write = phase_write(claimed(store, action), phase)
    assert commit(store, write).outcomes == (CommitOutcome.DONE,)
    assert commit(store, write).outcomes == (CommitOutcome.SUPERSEDED,)
    assert [e.sequence for e in store.events(action.id)] == [1, 2]
    assert get(store, action).version == 2
    counts = store.counts(RUN)
    assert counts is not None
    assert counts.phases == {ActionPhase.QUEUED: 1, phase: 1}
    assert get(store, root).children.open == int(not phase.is_terminal())


def test_a_missing_action_is_gone(store: Store) -> None:
    """A write for an action that is not stored says so, and stores nothing."""
    ghost = make_action("ghost")
    ghost.token = 1
    assert commit(store, success_write(ghost)).outcomes == (CommitOutcome.GONE,)
    assert store.get(ghost.id) is None
    assert store.channel(shard_of(store, ghost)) == []


def test_an_end_is_never_overwritten(store: Store) -> None:
    """No claim and no token can move an ended action to another phase."""
    action = make_action()
    created(store, action)
    committed(store, success_write(claimed(store, action), keep_finalizer=True, due=store.now()))
    again = claimed(store, action)
    assert commit(store, phase_write(again, ActionPhase.FAILED)).outcomes == (CommitOutcome.SUPERSEDED,)
    assert get(store, action).phase is ActionPhase.SUCCEEDED
    assert len(store.events(action.id)) == 2


@pytest.mark.rule("R41")
def test_tries_of_clean_up_are_counted_after_the_end(store: Store) -> None:
    """The status of an ended action may still be written while its phase stays: clean-up has a bound."""
    root, action = make_action(), make_action("c", parent="a0")
    created(store, root, action)
    committed(store, success_write(claimed(store, action), keep_finalizer=True, due=store.now()))
    again = claimed(store, action)
    changed = again.copy()
    changed.set_status(cleanup_tries=1)
    at = store.now() + 60_000
    committed(store, Write(action=changed, original=again, status=True, due=at))
    assert get(store, action).status.cleanup_tries == 1
    assert due_time(store, action) == at
    counts = store.counts(RUN)
    assert counts is not None
    assert counts.phases == {ActionPhase.QUEUED: 1, ActionPhase.SUCCEEDED: 1}
    assert get(store, root).children.open == 0


def test_clean_up_ends_an_action_for_good(store: Store) -> None:
    """Removing the finalizer of an ended action is a write of its own, and the last one."""
    action = make_action()
    created(store, action)
    committed(store, success_write(claimed(store, action), keep_finalizer=True, due=store.now()))
    again = claimed(store, action)
    cleaned = again.copy()
    cleaned.set_metadata(finalizers=(), completed_at=again.now)
    committed(store, Write(action=cleaned, original=again, metadata=True))
    record = get(store, action)
    assert (record.metadata.finalizers, record.token, record.version) == ((), 0, 3)
    assert due_time(store, action) is None
    assert claim(store, action).actions == []


def test_metadata_is_written_without_touching_the_status(store: Store) -> None:
    """Labels can be set and removed while the status stays as it is."""
    action = make_action()
    created(store, action)
    first = claimed(store, action)
    labelled = first.copy()
    labelled.set_metadata(extra_labels={"a": "b"})
    committed(store, Write(action=labelled, original=first, metadata=True, due=store.now()))
    record = claimed(store, action)
    assert record.metadata.extra_labels == {"a": "b"}
    assert record.metadata.finalizers == (FINALIZER,)
    assert (record.version, record.status) == (2, first.status)
    bare = record.copy()
    bare.set_metadata(extra_labels={})
    committed(store, Write(action=bare, original=record, metadata=True))
    assert get(store, action).metadata.extra_labels == {}


def test_removing_metadata_is_a_change(store: Store) -> None:
    """A write that only takes something away has a version of its own, too."""
    action = make_action(condition=True)
    action.set_metadata(annotations={"a": "b"})
    created(store, action)
    record = claimed(store, action)
    bare = record.copy()
    bare.set_metadata(annotations={})
    committed(store, Write(action=bare, original=record, metadata=True))
    stored = get(store, action)
    assert (stored.version, stored.metadata.annotations) == (2, {})


def test_fields_of_newer_releases_survive(store: Store) -> None:
    """A status field this release does not know is written back untouched."""
    action = make_action()
    created(store, action)
    newer = phase_write(claimed(store, action), ActionPhase.RUNNING, due=store.now())
    newer.action.unknown = {"status": {"futureField": {"x": [1, 2]}}}
    committed(store, newer)
    committed(store, success_write(claimed(store, action)))
    record = get(store, action)
    assert record.phase is ActionPhase.SUCCEEDED
    assert msgspec.json.decode(record.unknown["status"]["futureField"]) == {"x": [1, 2]}


@pytest.mark.rule("R29")
def test_a_new_launch_forgets_the_one_before(store: Store) -> None:
    """A relaunch clears owner, lease, stop request and outcome of the launch it replaces."""
    action = make_action()
    launched(store, action)
    store.start_attempt(action.id, "1", owner="w", lease=1000)
    store.stop_attempt(action.id, "slow")
    committed(
        store,
        release_write(
            claimed(store, action), due=store.now() + 60_000, launch=("2", LINE.replace("q/", "q2/"))
        ),
    )
    attempt = get(store, action).attempt
    assert (attempt.launch, attempt.owner, attempt.stop) == ("2", "", "")
    assert (attempt.lease_until, attempt.started_at, attempt.outcome) == (0, 0, None)
    assert attempt.sent_at > 0


def test_outcomes_come_in_the_order_asked(store: Store) -> None:
    """One superseded write of a batch does not hold up the others."""
    actions = [make_action(f"a{n}") for n in range(3)]
    created(store, *actions)
    writes = [success_write(claimed(store, action)) for action in actions]
    writes[1].original.token = writes[1].action.token = 99
    done, superseded = CommitOutcome.DONE, CommitOutcome.SUPERSEDED
    assert commit(store, *writes).outcomes == (done, superseded, done)


def test_several_events_of_one_write_keep_their_order(store: Store) -> None:
    """A failed attempt and the next one's queueing are published together, without a gap (R32)."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    write = phase_write(held, ActionPhase.RUNNING)
    write.events = [event(held, ActionPhase.FAILED), event(held, ActionPhase.QUEUED, offset=2)]
    committed(store, write)
    phases = [(e.sequence, e.phase) for e in store.events(action.id)]
    assert phases == [(1, ActionPhase.QUEUED), (2, ActionPhase.FAILED), (3, ActionPhase.QUEUED)]
    assert get(store, action).events == 3

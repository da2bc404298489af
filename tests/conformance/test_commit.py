from __future__ import annotations

import msgspec
import pytest
from support import (
    MAX_COUNTDOWN,
    RUN,
    STEP_LEASE,
    LookingStore,
    PassTime,
    claim,
    claimed,
    committed,
    created,
    due_time,
    event,
    finish,
    get,
    launched,
    make_action,
    phase_write,
    release_write,
    shard_of,
    success_write,
)

from reconciler.api.action import FINALIZER, Deletion, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import CommitOutcome, CommitReport, Write

pytestmark = pytest.mark.spec("5.4")


def commit(store: LookingStore, *writes: Write) -> CommitReport:
    return store.commit(shard_of(store, writes[0].action), writes)


def test_status_event_due_and_counter_are_one_write(store: LookingStore) -> None:
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


def test_an_end_leaves_only_what_is_read_later(store: LookingStore) -> None:
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


def test_a_release_changes_nothing_but_the_due_time(store: LookingStore) -> None:
    """A round without a change writes no version and no event; the action can be claimed at once."""
    action = make_action()
    created(store, action)
    at = store.now() + 60_000
    committed(store, release_write(claimed(store, action), due=at))
    record = get(store, action)
    assert (record.version, record.events) == (1, 1)
    assert due_time(store, action) == at
    assert claimed(store, action).token == 2


def test_a_stale_token_is_superseded(store: LookingStore, pass_time: PassTime) -> None:
    """Only the newest claim may write; the loser changes nothing."""
    action = make_action()
    created(store, action)
    stale = claimed(store, action)
    pass_time(STEP_LEASE + 1)
    claimed(store, action)
    assert commit(store, success_write(stale)).outcomes == (CommitOutcome.SUPERSEDED,)
    record = get(store, action)
    assert (record.phase, record.version, record.events) == (ActionPhase.QUEUED, 1, 1)


def test_a_late_write_is_taken_while_nobody_else_claimed(store: LookingStore, pass_time: PassTime) -> None:
    """A slow step whose lease ran out may still write as long as its token is the newest."""
    action = make_action()
    created(store, action)
    slow = claimed(store, action)
    pass_time(STEP_LEASE + 1)
    committed(store, success_write(slow))


@pytest.mark.parametrize("phase", [ActionPhase.RUNNING, ActionPhase.SUCCEEDED])
def test_the_same_commit_twice_is_written_once(store: LookingStore, phase: ActionPhase) -> None:
    """A step that did not hear the answer and writes again is superseded: no second event, no second count."""
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


def test_a_missing_action_is_gone(store: LookingStore) -> None:
    """A write for an action that is not stored says so, and stores nothing."""
    ghost = make_action("ghost")
    ghost.token = 1
    assert commit(store, success_write(ghost)).outcomes == (CommitOutcome.GONE,)
    assert store.get(ghost.id) is None
    assert store.channel(shard_of(store, ghost)) == []


def test_an_end_is_never_overwritten(store: LookingStore) -> None:
    """No claim and no token can move an ended action to another phase."""
    action = make_action()
    created(store, action)
    committed(store, success_write(claimed(store, action), keep_finalizer=True, due=store.now()))
    again = claimed(store, action)
    assert commit(store, phase_write(again, ActionPhase.FAILED)).outcomes == (CommitOutcome.SUPERSEDED,)
    assert get(store, action).phase is ActionPhase.SUCCEEDED
    assert len(store.events(action.id)) == 2


@pytest.mark.spec("W-44")
def test_tries_of_clean_up_are_counted_after_the_end(store: LookingStore) -> None:
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


def test_clean_up_ends_an_action_for_good(store: LookingStore) -> None:
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


def test_metadata_is_written_without_touching_the_status(store: LookingStore) -> None:
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


def test_fields_of_newer_releases_survive(store: LookingStore) -> None:
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


@pytest.mark.spec("W-02")
def test_a_new_launch_forgets_the_one_before(store: LookingStore) -> None:
    """A relaunch clears owner, lease, stop wish and outcome of the launch it replaces."""
    action = make_action()
    launched(store, action)
    store.start_attempt(action.id, "1", owner="w", lease=1000, queue="q")
    store.stop_attempt(action.id, "slow")
    committed(store, release_write(claimed(store, action), due=store.now() + 60_000, launch=("2", "q2")))
    attempt = get(store, action).attempt
    assert (attempt.launch, attempt.owner, attempt.stop) == ("2", "", "")
    assert (attempt.lease_until, attempt.started_at, attempt.outcome) == (0, 0, None)
    assert attempt.sent_at > 0


def test_outcomes_come_in_the_order_asked(store: LookingStore) -> None:
    """One superseded write of a batch does not hold up the others."""
    actions = [make_action(f"a{n}") for n in range(3)]
    created(store, *actions)
    writes = [success_write(claimed(store, action)) for action in actions]
    writes[1].original.token = writes[1].action.token = 99
    done, superseded = CommitOutcome.DONE, CommitOutcome.SUPERSEDED
    assert commit(store, *writes).outcomes == (done, superseded, done)


def test_an_action_woken_while_held_is_due_after_the_commit(store: LookingStore) -> None:
    """What happens during a step is not lost: the action is due at once when the step ends."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    store.wake([action.id])
    woken = store.now()
    committed(store, release_write(held, due=store.now() + 60_000))
    at = due_time(store, action)
    assert at is not None
    assert at <= woken


def test_an_action_woken_while_held_is_due_even_if_it_asked_for_nothing(store: LookingStore) -> None:
    """A wake-up wins over "never"."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    assert claim(store, action).actions == []  # naming a held action wakes it
    committed(store, release_write(held))
    at = due_time(store, action)
    assert at is not None
    assert at <= store.now()


def test_an_ended_action_is_not_woken_again(store: LookingStore) -> None:
    """A wake-up during the last step is moot."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    store.wake([action.id])
    committed(store, success_write(held))
    assert due_time(store, action) is None


def test_a_wake_up_is_used_once(store: LookingStore) -> None:
    """The wish noted during one step does not come back after the next."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    store.wake([action.id])
    committed(store, release_write(held))
    at = store.now() + 60_000
    committed(store, release_write(claimed(store, action), due=at))
    assert due_time(store, action) == at


def test_an_abort_during_a_step_is_kept(store: LookingStore) -> None:
    """A wish to abort stored while a step held the action survives that step's write."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    store.request_abort(action.id, Deletion(reason="stop"))
    committed(store, phase_write(held, ActionPhase.RUNNING, due=store.now() + 60_000))
    record = claimed(store, action)
    assert record.metadata.deletion is not None
    assert record.metadata.deletion.reason == "stop"


def test_counters_follow_each_phase(store: LookingStore) -> None:
    """The counts of a run always add up to its actions."""
    actions = [make_action(f"a{n}") for n in range(4)]
    created(store, *actions)
    committed(store, phase_write(claimed(store, actions[0]), ActionPhase.RUNNING, due=store.now()))
    finish(store, actions[0])
    finish(store, actions[1], ActionPhase.FAILED)
    finish(store, actions[2], ActionPhase.ABORTED)
    counts = store.counts(RUN)
    assert counts is not None
    assert counts.phases == {
        ActionPhase.QUEUED: 1, ActionPhase.SUCCEEDED: 1, ActionPhase.FAILED: 1, ActionPhase.ABORTED: 1,
    }  # fmt: skip
    assert (counts.total, counts.ended) == (4, 3)


def family(store: LookingStore, size: int) -> tuple[TaskAction, list[TaskAction]]:
    parent = make_action()
    children = [make_action(f"c{n}", parent="a0") for n in range(size)]
    created(store, parent, *children)
    committed(store, release_write(claimed(store, parent), due=store.now() + 3_600_000))
    return parent, children


def test_the_last_child_wakes_its_parent(store: LookingStore) -> None:
    """A parent sleeps until its last child has ended, and is due at that moment."""
    parent, children = family(store, 2)
    finish(store, children[0])
    at = due_time(store, parent)
    assert at is not None
    assert at > store.now()
    finish(store, children[1], ActionPhase.FAILED)
    at = due_time(store, parent)
    assert at is not None
    assert at <= store.now()


def test_the_last_child_wakes_a_held_parent_after_its_step(store: LookingStore) -> None:
    """The end of a child during the parent's own step is not missed."""
    parent, children = family(store, 1)
    held = claimed(store, parent)
    finish(store, children[0])
    committed(store, release_write(held, due=store.now() + 3_600_000))
    at = due_time(store, parent)
    assert at is not None
    assert at <= store.now()


def test_an_ended_parent_is_not_woken(store: LookingStore) -> None:
    """A child that outlives its parent wakes nobody."""
    parent, children = family(store, 1)
    finish(store, parent)
    finish(store, children[0])
    assert due_time(store, parent) is None
    assert get(store, parent).children.open == 0


def test_children_end_together(store: LookingStore) -> None:
    """A whole family may end in one batch; the parent is woken once, with all counted."""
    parent, children = family(store, 5)
    shard = shard_of(store, parent)
    commit(store, *(success_write(claimed(store, child)) for child in children))
    woken = store.claim(shard, owner="s", limit=10).actions
    assert [action.id.action for action in woken] == ["a0"]
    assert (woken[0].children.total, woken[0].children.open) == (5, 0)


def release_at(store: LookingStore, name: str, at: int) -> CommitReport:
    action = make_action(name)
    created(store, action)
    return commit(store, release_write(claimed(store, action), due=at))


def test_one_countdown_is_armed_for_a_shard(store: LookingStore) -> None:
    """The first commit arms the countdown for the earliest due time; a later time arms none; an earlier one does."""
    now = store.now()
    first = release_at(store, "a", now + 10_000)
    assert (first.next_due, first.arm) == (now + 10_000, True)
    later = release_at(store, "b", now + 12_000)
    assert (later.next_due, later.arm) == (now + 10_000, False)
    earlier = release_at(store, "c", now + 8_000)
    assert (earlier.next_due, earlier.arm) == (now + 8_000, True)


def test_an_idle_claim_arms_too_but_once(store: LookingStore) -> None:
    """Whoever looks first sends the countdown; the second sees that it is on its way."""
    now = store.now()
    assert release_at(store, "a", now + 10_000).arm
    idle = store.claim(store.shard_of(RUN), owner="s", limit=1)
    assert (idle.next_due, idle.arm) == (now + 10_000, False)


def test_a_countdown_that_has_run_out_is_armed_anew(store: LookingStore, pass_time: PassTime) -> None:
    """Once its time has passed the register does not hold back the next countdown."""
    now = store.now()
    assert release_at(store, "a", now + 300).arm
    pass_time(301)
    at = store.now() + 10_000
    report = commit(store, release_write(claimed(store, make_action("a")), due=at))
    assert (report.next_due, report.arm) == (at, True)


def test_a_far_time_is_not_armed(store: LookingStore) -> None:
    """Beyond the longest countdown the due index waits alone; the sweep arms it later."""
    at = store.now() + MAX_COUNTDOWN + 60_000
    report = release_at(store, "a", at)
    assert (report.next_due, report.arm) == (at, False)


def test_what_is_due_already_is_not_armed(store: LookingStore) -> None:
    """No countdown is needed for what the step can take next."""
    created(store, make_action("waiting"))
    report = release_at(store, "a", store.now() + 10_000)
    assert report.next_due <= store.now()
    assert not report.arm


def test_several_events_of_one_write_keep_their_order(store: LookingStore) -> None:
    """A failed attempt and the next one's queueing are published together, without a gap (W-03)."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    write = phase_write(held, ActionPhase.RUNNING)
    write.events = [event(held, ActionPhase.FAILED), event(held, ActionPhase.QUEUED, offset=2)]
    committed(store, write)
    phases = [(e.sequence, e.phase) for e in store.events(action.id)]
    assert phases == [(1, ActionPhase.QUEUED), (2, ActionPhase.FAILED), (3, ActionPhase.QUEUED)]
    assert get(store, action).events == 3

from __future__ import annotations

import pytest
from support import (
    RUN,
    STEP_LEASE,
    PassTime,
    claim,
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
    shard_of,
    success_write,
)

from reconciler.api.action import FINALIZER, Deletion, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import ClaimReport, CommitOutcome, Store

pytestmark = pytest.mark.rule("R5")


def due_claim(store: Store, limit: int = 10) -> ClaimReport:
    """Claim what is due."""
    return store.claim(store.shard_of(RUN), owner="step", limit=limit)


def names(report: ClaimReport) -> list[str]:
    """Return names of the claimed actions."""
    return [action.id.action for action in report.actions]


def test_due_actions_are_claimed_earliest_first(store: Store, pass_time: PassTime) -> None:
    """A step takes what is due, the longest waiting first, up to its limit."""
    for name in ("z", "b", "a"):
        created(store, make_action(name))
        pass_time(2)
    assert names(due_claim(store, limit=2)) == ["z", "b"]
    assert names(due_claim(store)) == ["a"]


def test_a_claim_hands_out_the_record(store: Store) -> None:
    """A claimed record is whole, knows the time of the claim, and has the first fencing token."""
    action = make_action()
    created(store, action)
    report = due_claim(store)
    [record] = report.actions
    assert record.spec == action.spec
    assert (record.token, record.now, record.version) == (1, report.now, 1)
    assert get(store, action).token == 1


def test_a_held_action_is_not_claimed_again(store: Store) -> None:
    """While a step holds an action no other step gets it, named or not."""
    action = make_action()
    created(store, action)
    claimed(store, action)
    assert due_claim(store).actions == []
    assert claim(store, action).actions == []
    assert get(store, action).token == 1


def test_a_held_action_is_due_when_its_lease_ends(store: Store) -> None:
    """The due index looks again at the end of the lease, should the step die."""
    action = make_action()
    created(store, action)
    report = claim(store, action)
    assert due_time(store, action) == report.now + STEP_LEASE


def test_after_its_lease_an_action_is_claimed_with_a_higher_token(store: Store, pass_time: PassTime) -> None:
    """A dead step loses its claim; the next one gets a higher token, and the late write is superseded."""
    action = make_action()
    created(store, action)
    late = claimed(store, action)
    pass_time(STEP_LEASE + 1)
    [again] = due_claim(store).actions
    assert again.token == late.token + 1
    report = store.commit(shard_of(store, action), [success_write(late)])
    assert report.outcomes == (CommitOutcome.SUPERSEDED,)
    committed(store, success_write(again))


def test_claims_that_end_without_a_commit_are_counted(store: Store, pass_time: PassTime) -> None:
    """Each claim tells how many before it, in a row, ended with their lease; a commit, even of nothing, starts anew."""
    action = make_action()
    created(store, action)
    counts = []
    for _ in range(3):
        [record] = due_claim(store).actions
        counts.append(record.abandoned)
        pass_time(STEP_LEASE + 1)
    [record] = claim(store, action).actions
    assert [*counts, record.abandoned] == [0, 1, 2, 3]
    committed(store, release_write(record, due=store.now()))
    assert claimed(store, action).abandoned == 0
    pass_time(STEP_LEASE + 1)
    assert claimed(store, action).abandoned == 1


def test_a_held_action_in_the_due_index_is_put_off(store: Store, pass_time: PassTime) -> None:
    """An action that is due while held, as after a heartbeat's late write, waits for the end of the lease."""
    action = make_action()
    launched(store, action, due=store.now() + 1)
    pass_time(2)
    holder = claim(store, action)
    assert due_claim(store).actions == []
    assert due_time(store, action) == holder.now + STEP_LEASE


def test_named_actions_come_first_due_or_not(store: Store) -> None:
    """A message names its actions: they are taken before what is due, even when they are not due."""
    early, far = make_action("early"), make_action("far")
    created(store, early, far)
    committed(store, release_write(claimed(store, far), due=store.now() + 3_600_000))
    report = store.claim(shard_of(store, far), owner="s", limit=2, named=[far.id, far.id])
    assert names(report) == ["far", "early"]


def test_named_actions_count_against_the_limit(store: Store) -> None:
    """What is named uses up the batch before due actions do."""
    one, two = make_action("one"), make_action("two")
    created(store, one, two)
    report = store.claim(shard_of(store, one), owner="s", limit=1, named=[two.id])
    assert names(report) == ["two"]


def test_a_missing_action_is_skipped(store: Store) -> None:
    """A message for an action that is gone costs nothing."""
    ghost = make_action("ghost")
    report = claim(store, ghost)
    assert (report.actions, report.next_due, report.arm) == ([], 0, False)


def test_an_ended_action_without_finalizer_is_dropped(store: Store) -> None:
    """Nothing is left to do: not claimed, and no longer due."""
    action = make_action()
    created(store, action)
    committed(store, success_write(claimed(store, action), due=store.now() + 5))
    assert due_time(store, action) is not None
    assert claim(store, action).actions == []
    assert due_time(store, action) is None


def test_an_ended_action_with_finalizer_is_claimed(store: Store) -> None:
    """Clean-up is still owed."""
    action = make_action()
    created(store, action)
    committed(store, success_write(claimed(store, action), keep_finalizer=True, due=store.now()))
    record = claimed(store, action)
    assert record.phase is ActionPhase.SUCCEEDED
    assert record.metadata.finalizers == (FINALIZER,)


@pytest.mark.rule("R24")
def test_a_task_gets_its_finalizer_with_the_claim(store: Store) -> None:
    """Before anything can be launched its clean-up is owed."""
    action = make_action()
    created(store, action)
    assert claimed(store, action).metadata.finalizers == (FINALIZER,)
    assert get(store, action).metadata.finalizers == (FINALIZER,)


@pytest.mark.rule("R53")
def test_a_condition_never_gets_a_finalizer(store: Store) -> None:
    """A condition launches nothing."""
    action = make_action(condition=True)
    created(store, action)
    assert claimed(store, action).metadata.finalizers == ()
    assert get(store, action).metadata.finalizers == ()


@pytest.mark.rule("R38")
def test_an_action_aborted_before_its_first_step_gets_no_finalizer(store: Store) -> None:
    """Nothing was launched, so nothing is owed."""
    action = make_action()
    created(store, action)
    store.request_abort(action.id, Deletion(reason="no", actor="me"))
    record = claimed(store, action)
    assert record.metadata.finalizers == ()
    assert record.metadata.deletion is not None
    assert (record.metadata.deletion.reason, record.metadata.deletion.actor) == ("no", "me")


def test_a_claim_counts_children(store: Store) -> None:
    """A parent's record says how many children it has, how many are open, and how many failed."""
    root = make_action()
    children = [make_action(f"c{n}", parent="a0") for n in range(3)]
    created(store, root, *children)
    finish(store, children[0])
    finish(store, children[1], ActionPhase.FAILED)
    counted = claimed(store, root).children
    assert (counted.total, counted.open, counted.failed) == (3, 1, 1)
    assert get(store, root).children == counted
    assert claimed(store, children[2]).children.total == 0


def later(store: Store, name: str, due: int) -> TaskAction:
    """Return a running action that is looked at later."""
    action = make_action(name)
    created(store, action)
    committed(store, phase_write(claimed(store, action), ActionPhase.RUNNING, due=due))
    return action


def test_an_idle_step_learns_what_is_due_next(store: Store) -> None:
    """A claim that found nothing says when the next action is due; one that found some does not."""
    at = store.now() + 60_000
    later(store, "far", at)
    idle = due_claim(store)
    assert (idle.actions, idle.next_due) == ([], at)
    created(store, make_action("now"))
    busy = due_claim(store)
    assert (names(busy), busy.next_due, busy.arm) == (["now"], 0, False)

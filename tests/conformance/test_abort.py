from __future__ import annotations

import pytest
from support import (
    RUN,
    claimed,
    committed,
    created,
    due_time,
    finish,
    get,
    make_action,
    release_write,
    shard_of,
)

from reconciler.api.action import Deletion, RunId, TaskAction
from reconciler.stores.base import AbortOutcome, Store

pytestmark = pytest.mark.rule("R40")
DELETION = Deletion(reason="not needed", actor="ada")


def quiet(store: Store, *actions: TaskAction) -> None:
    """Create actions that wait for an hour, with no message pending."""
    created(store, *actions)
    shard = shard_of(store, actions[0])
    records = store.claim(shard, owner="s", limit=len(actions), first=True).actions
    assert len(records) == len(actions)
    store.commit(shard, [release_write(record, due=store.now() + 3_600_000) for record in records])


def deletion_of(store: Store, action: TaskAction) -> Deletion | None:
    """Return the stored request to end an action."""
    return get(store, action).metadata.deletion


def test_an_abort_is_stored_and_wakes(store: Store) -> None:
    """The request is kept with reason, actor and time, and the action is due at once."""
    action = make_action()
    quiet(store, action)
    before = store.now()
    report = store.request_abort(action.id, DELETION)
    assert report.outcome is AbortOutcome.REQUESTED
    assert report.descendants == 0
    assert report.wake == (shard_of(store, action),)
    request = deletion_of(store, action)
    assert request is not None
    assert (request.reason, request.actor) == ("not needed", "ada")
    assert before <= request.at <= store.now()
    at = due_time(store, action)
    assert at is not None
    assert at <= store.now()


def test_an_abort_without_a_reason_has_one(store: Store) -> None:
    """A reason is always stored."""
    action = make_action()
    created(store, action)
    store.request_abort(action.id, Deletion())
    request = deletion_of(store, action)
    assert request is not None
    assert (request.reason, request.actor) == ("aborted", "")


def test_the_first_request_stands(store: Store) -> None:
    """Asking again changes neither reason nor actor, and needs no message."""
    action = make_action()
    quiet(store, action)
    store.request_abort(action.id, DELETION)
    report = store.request_abort(action.id, Deletion(reason="other", actor="bob"))
    assert (report.outcome, report.descendants, report.wake) == (AbortOutcome.ALREADY, 0, ())
    request = deletion_of(store, action)
    assert request is not None
    assert request.reason == "not needed"


def test_an_ended_action_is_not_aborted(store: Store) -> None:
    """An end stands (R38)."""
    action = make_action()
    created(store, action)
    finish(store, action)
    assert store.request_abort(action.id, DELETION).outcome is AbortOutcome.ENDED
    assert deletion_of(store, action) is None


def test_a_missing_action_is_not_aborted(store: Store) -> None:
    """Nothing is stored for an action nobody knows."""
    report = store.request_abort(make_action("ghost").id, DELETION)
    assert (report.outcome, report.descendants, report.wake) == (AbortOutcome.MISSING, 0, ())
    assert store.get(make_action("ghost").id) is None


def test_an_abort_reaches_all_descendants_and_nobody_else(store: Store) -> None:
    """Three levels below are marked and due; parents, siblings, similar names and other runs are not."""
    below = [
        make_action("a", parent="top"), make_action("b", parent="a"), make_action("c", parent="b"),
        make_action("d", parent="a"),
    ]  # fmt: skip
    others = [
        make_action("top"), make_action("ab", parent="top"), make_action("a-b", parent="top"),
        make_action("x", parent="ab"), make_action("y", parent="a-b"),
    ]  # fmt: skip
    elsewhere = make_action("a", run=RunId("p", "d", "r2"))
    quiet(store, others[0], *below, *others[1:])
    created(store, elsewhere)
    report = store.request_abort(below[0].id, DELETION)
    assert (report.outcome, report.descendants) == (AbortOutcome.REQUESTED, 3)
    assert all(deletion_of(store, action) is not None for action in below)
    assert all(deletion_of(store, action) is None for action in (*others, elsewhere))
    due = {action.action for action, at in store.due(shard_of(store, below[0])) if at <= store.now()}
    assert due == {action.id.action for action in below}


def test_a_cascade_passes_ended_and_marked_actions(store: Store) -> None:
    """What lies below an ended or an already marked action is marked too."""
    tree = [
        make_action("top"), make_action("ended", parent="top"), make_action("marked", parent="top"),
        make_action("x", parent="ended"), make_action("y", parent="marked"), make_action("z", parent="y"),
    ]  # fmt: skip
    created(store, *tree)
    finish(store, tree[1])
    store.request_abort(tree[5].id, Deletion(reason="before"))
    report = store.request_abort(tree[0].id, DELETION)
    assert (report.outcome, report.descendants) == (AbortOutcome.REQUESTED, 3)
    reasons = {a.id.action: request.reason for a in tree if (request := deletion_of(store, a)) is not None}
    assert reasons == {
        "top": "not needed", "marked": "not needed", "x": "not needed", "y": "not needed", "z": "before",
    }  # fmt: skip


def test_children_of_an_ended_action_can_be_aborted_through_it(store: Store) -> None:
    """An abort of an ended action reaches the children it left behind, and asks for their message."""
    tree = [make_action("top"), make_action("x", parent="top"), make_action("y", parent="top")]
    quiet(store, *tree)
    finish(store, tree[0])
    report = store.request_abort(tree[0].id, DELETION)
    assert (report.outcome, report.descendants) == (AbortOutcome.ENDED, 2)
    assert report.wake == (shard_of(store, tree[0]),)


def test_a_cascade_reaches_thousands(store: Store) -> None:
    """More descendants than one script call looks at are all marked, also below already marked ones."""
    middle = [make_action(f"m{n:02}", parent="top") for n in range(30)]
    leaves = [make_action(f"l{n:02}-{k:02}", parent=f"m{n:02}") for n in range(30) for k in range(80)]
    created(store, make_action("top"), *middle, *leaves)
    assert store.request_abort(middle[3].id, DELETION).descendants == 80
    report = store.request_abort(make_action("top").id, DELETION)
    assert (report.outcome, report.descendants) == (AbortOutcome.REQUESTED, 29 + 29 * 80)
    records = store.get_many([action.id for action in (*middle, *leaves)])
    assert all(record is not None and record.metadata.deletion is not None for record in records)
    again = store.request_abort(make_action("top").id, DELETION)
    assert (again.outcome, again.descendants) == (AbortOutcome.ALREADY, 0)


def test_an_abort_during_a_step_is_due_after_it(store: Store) -> None:
    """A step that holds the action ends first; then the abort is seen at once."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    assert store.request_abort(action.id, DELETION).outcome is AbortOutcome.REQUESTED
    committed(store, release_write(held, due=store.now() + 3_600_000))
    at = due_time(store, action)
    assert at is not None
    assert at <= store.now()


def test_a_pending_message_serves_an_abort_too(store: Store) -> None:
    """While a message is on its way to the shard the abort needs none of its own."""
    created(store, make_action())
    assert store.request_abort(make_action().id, DELETION).wake == ()
    assert store.counts(RUN) is not None

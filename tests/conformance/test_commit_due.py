from __future__ import annotations

import pytest
from support import (
    MAX_COUNTDOWN,
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
    make_action,
    phase_write,
    release_write,
    settle,
    shard_of,
    success_write,
)

from reconciler.api.action import Deletion, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import CommitReport, Store, Write

pytestmark = pytest.mark.rule("R6")


def commit(store: Store, *writes: Write) -> CommitReport:
    """Commit writes of one shard."""
    return store.commit(shard_of(store, writes[0].action), writes)


def test_an_action_woken_while_held_is_due_after_the_commit(store: Store) -> None:
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


def test_an_action_woken_while_held_is_due_even_if_it_asked_for_nothing(store: Store) -> None:
    """A wake-up wins over "never"."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    assert claim(store, action).actions == []  # naming a held action wakes it
    committed(store, release_write(held))
    at = due_time(store, action)
    assert at is not None
    assert at <= store.now()


def test_an_ended_action_is_not_woken_again(store: Store) -> None:
    """A wake-up during the last step is moot."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    store.wake([action.id])
    committed(store, success_write(held))
    assert due_time(store, action) is None


def test_a_wake_up_is_used_once(store: Store) -> None:
    """The request noted during one step does not come back after the next."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    store.wake([action.id])
    committed(store, release_write(held))
    at = store.now() + 60_000
    committed(store, release_write(claimed(store, action), due=at))
    assert due_time(store, action) == at


def test_an_abort_during_a_step_is_kept(store: Store) -> None:
    """A request to abort stored while a step held the action survives that step's write."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    store.request_abort(action.id, Deletion(reason="stop"))
    committed(store, phase_write(held, ActionPhase.RUNNING, due=store.now() + 60_000))
    record = claimed(store, action)
    assert record.metadata.deletion is not None
    assert record.metadata.deletion.reason == "stop"


@pytest.mark.parametrize("later", [0, 60_000])
def test_a_wake_up_outlives_a_step_that_died(store: Store, pass_time: PassTime, later: int) -> None:
    """What was noted during a dead step is served by the next claim; a request for later is kept beyond it."""
    action = make_action()
    created(store, action)
    claimed(store, action)
    request = store.now() + later
    store.wake([action.id], request)
    pass_time(STEP_LEASE + 1)
    far = store.now() + 3_600_000
    committed(store, release_write(claimed(store, action), due=far))
    assert due_time(store, action) == (request if later else far)


def test_counters_follow_each_phase(store: Store) -> None:
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


def family(store: Store, size: int) -> tuple[TaskAction, list[TaskAction]]:
    """Return a sleeping parent with open children."""
    parent = make_action()
    children = [make_action(f"c{n}", parent="a0") for n in range(size)]
    created(store, parent, *children)
    committed(store, release_write(claimed(store, parent), due=store.now() + 3_600_000))
    return parent, children


def test_the_last_child_wakes_its_parent(store: Store) -> None:
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


def test_the_last_child_wakes_a_held_parent_after_its_step(store: Store) -> None:
    """The end of a child during the parent's own step is not missed."""
    parent, children = family(store, 1)
    held = claimed(store, parent)
    finish(store, children[0])
    committed(store, release_write(held, due=store.now() + 3_600_000))
    at = due_time(store, parent)
    assert at is not None
    assert at <= store.now()


def test_an_ended_parent_is_not_woken(store: Store) -> None:
    """A child that outlives its parent wakes nobody."""
    parent, children = family(store, 1)
    finish(store, parent)
    settle(store, parent)
    finish(store, children[0])
    assert due_time(store, parent) is None
    assert get(store, parent).children.open == 0


def test_children_end_together(store: Store) -> None:
    """A whole family may end in one batch; the parent is woken once, with all counted."""
    parent, children = family(store, 5)
    shard = shard_of(store, parent)
    commit(store, *(success_write(claimed(store, child)) for child in children))
    woken = store.claim(shard, owner="s", limit=10).actions
    assert [action.id.action for action in woken] == ["a0"]
    assert (woken[0].children.total, woken[0].children.open) == (5, 0)


def release_at(store: Store, name: str, at: int) -> CommitReport:
    """Create an action and have it looked at again at that time."""
    action = make_action(name)
    created(store, action)
    return commit(store, release_write(claimed(store, action), due=at))


def test_one_countdown_is_armed_for_a_shard(store: Store) -> None:
    """The first commit arms the countdown; a later time arms none, an earlier one does."""
    now = store.now()
    first = release_at(store, "a", now + 10_000)
    assert (first.next_due, first.arm) == (now + 10_000, True)
    later = release_at(store, "b", now + 12_000)
    assert (later.next_due, later.arm) == (now + 10_000, False)
    earlier = release_at(store, "c", now + 8_000)
    assert (earlier.next_due, earlier.arm) == (now + 8_000, True)


def test_an_idle_claim_arms_too_but_once(store: Store) -> None:
    """Whoever looks first sends the countdown; the second sees that it is on its way."""
    now = store.now()
    assert release_at(store, "a", now + 10_000).arm
    idle = store.claim(store.shard_of(RUN), owner="s", limit=1)
    assert (idle.next_due, idle.arm) == (now + 10_000, False)


def test_a_countdown_that_has_run_out_is_armed_anew(store: Store, pass_time: PassTime) -> None:
    """Once its time has passed the register does not hold back the next countdown."""
    now = store.now()
    assert release_at(store, "a", now + 2_000).arm
    pass_time(2_001)
    at = store.now() + 10_000
    report = commit(store, release_write(claimed(store, make_action("a")), due=at))
    assert (report.next_due, report.arm) == (at, True)


def test_a_far_time_is_not_armed(store: Store) -> None:
    """Beyond the longest countdown the due index waits alone; the sweep arms it later."""
    at = store.now() + MAX_COUNTDOWN + 60_000
    report = release_at(store, "a", at)
    assert (report.next_due, report.arm) == (at, False)


def test_what_is_due_already_is_not_armed(store: Store) -> None:
    """No countdown is needed for what the step can take next."""
    created(store, make_action("waiting"))
    report = release_at(store, "a", store.now() + 10_000)
    assert report.next_due <= store.now()
    assert not report.arm

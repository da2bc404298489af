"""A commit that gives a launch up holds only while the launch is as the step saw it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from line_support import draw, given_back, names
from support import (
    ATTEMPT_LEASE,
    LINE,
    claimed,
    committed,
    due_time,
    get,
    launched,
    make_action,
    phase_write,
    release_write,
    reported,
    shard_of,
)

from reconciler.api.action import AttemptOutcome, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import CommitOutcome, Store, Write

pytestmark = pytest.mark.rule("R27", "R80")


def relaunch_later(record: TaskAction) -> Write:
    """Decide on another launch, sent after a pause."""
    write = release_write(record, due=record.now + 60_000)
    record.set_status(launches=record.status.launches + 1)
    return msgspec.structs.replace(write, status=True)


def relaunch(record: TaskAction) -> Write:
    """Decide on another launch, which stands in its line."""
    write = release_write(record, due=record.now + 60_000, launch=("1-1", LINE))
    record.set_status(launches=record.status.launches + 1)
    return msgspec.structs.replace(write, status=True)


def end(record: TaskAction) -> Write:
    """End the action without it."""
    return phase_write(record, ActionPhase.FAILED)


DECISIONS = (relaunch_later, relaunch, end)
Decision = Callable[[TaskAction], Write]


def refused(store: Store, write: Write) -> None:
    """Check that the write is refused, nothing of it is stored, and the next round may begin at once."""
    before = get(store, write.action)
    report = store.commit(shard_of(store, write.action), [write])
    assert report.outcomes == (CommitOutcome.SUPERSEDED,)
    assert 0 < report.next_due <= report.now
    after = get(store, write.action)
    assert (after.version, after.status, after.events) == (before.version, before.status, before.events)
    due = due_time(store, write.action)
    assert due is not None
    assert due <= store.now()


def decided_too_late(store: Store, decide: Decision) -> tuple[TaskAction, Write]:
    """Make an action whose launch is given back after a step took it for lost; return it with the write of that step."""
    action = make_action()
    launched(store, action)
    (drawn,) = draw(store, action).actions
    write = decide(claimed(store, action))
    given_back(store, drawn)
    return action, write


@pytest.mark.parametrize("decide", DECISIONS)
def test_what_another_worker_has_drawn_since_goes_on(store: Store, decide: Decision) -> None:
    """A worker taken for dead gives its launch back, another one runs it: the step that took it for lost comes too late."""
    action, write = decided_too_late(store, decide)
    draw(store, action, owner="w2")
    refused(store, write)
    assert store.heartbeat(action.id, "1", owner="w2", lease=ATTEMPT_LEASE).alive
    record = claimed(store, action)
    assert (record.attempt.launch, record.attempt.owner) == ("1", "w2")


@pytest.mark.parametrize("decide", DECISIONS)
def test_what_was_given_back_since_stays_in_its_line(store: Store, decide: Decision) -> None:
    """It was never begun, so nothing is to be counted, and no other launch is needed."""
    action, write = decided_too_late(store, decide)
    refused(store, write)
    assert names(draw(store, action, owner="w2")) == [action.id.action]


@pytest.mark.parametrize("decide", DECISIONS)
def test_what_was_drawn_since_it_waited_goes_on(store: Store, decide: Decision) -> None:
    """Who gives up what waits for a worker, as at the end of a limit, comes too late when a worker has it."""
    action = make_action()
    launched(store, action)
    write = decide(claimed(store, action))
    assert names(draw(store, action)) == [action.id.action]
    refused(store, write)
    assert store.heartbeat(action.id, "1", owner="w1", lease=ATTEMPT_LEASE).alive


@pytest.mark.parametrize("decide", DECISIONS)
def test_an_end_that_was_kept_stands(store: Store, decide: Decision) -> None:
    """A worker that was told that its report is kept may count on it."""
    action = make_action()
    launched(store, action)
    draw(store, action)
    write = decide(claimed(store, action))
    assert reported(store, action, AttemptOutcome(ended="raised", code="ValueError", retryable=True))
    refused(store, write)
    kept = claimed(store, action).attempt.outcome
    assert kept is not None
    assert kept.code == "ValueError"


@pytest.mark.parametrize("decide", DECISIONS)
def test_a_launch_that_is_as_it_was_seen_is_given_up(store: Store, decide: Decision) -> None:
    """Also when its worker, found silent, has renewed its lease since: the step has judged the lease it saw."""
    action = make_action()
    launched(store, action)
    draw(store, action)
    write = decide(claimed(store, action))
    assert store.heartbeat(action.id, "1", owner="w1", lease=ATTEMPT_LEASE).alive
    committed(store, write)
    assert not store.heartbeat(action.id, "1", owner="w1", lease=ATTEMPT_LEASE).alive


@pytest.mark.parametrize("decide", DECISIONS)
def test_what_has_ended_when_it_is_seen_is_given_up(store: Store, decide: Decision) -> None:
    """A retry after an end that the step saw, too."""
    action = make_action()
    launched(store, action)
    draw(store, action)
    assert reported(store, action, AttemptOutcome(ended="raised", code="ValueError", retryable=True))
    committed(store, decide(claimed(store, action)))

"""When an action is looked at again, situation by situation (R7)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from control_support import (
    CACHED,
    FULL,
    REQUEUE,
    TYPE,
    SmallCatalog,
    fail_commits,
    lab_of,
    outputs,
    retries,
    stored,
)

from reconciler.api.action import DONE, FINALIZER, ActionId, Result
from reconciler.api.approval import ConditionSpec
from reconciler.api.errors import BadTaskSpecification, BlobUnavailable, StoreUnavailable
from reconciler.api.template import Interface
from reconciler.api.transition import queued, retryable_failure, running, success
from reconciler.testing import Lab

Situation = Callable[[], tuple[Lab, ActionId]]
WOKEN = Result(REQUEUE, woken=True)


def launched() -> tuple[Lab, ActionId]:
    """Play the first round: the finalizer is stored by the claim, so the plugin is called at once."""
    lab = lab_of(queued(0, 0, "sent"))
    return lab, lab.submit(TYPE)


def unchanged() -> tuple[Lab, ActionId]:
    """Play a round that finds nothing new."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    return lab, action


def not_found() -> tuple[Lab, ActionId]:
    """Nobody stored it."""
    return lab_of(running(0)), ActionId("p", "d", "r", "a")


def rejected() -> tuple[Lab, ActionId]:
    """Reject an action whose plugin is missing."""
    lab = lab_of(running(0))
    return lab, lab.submit("nobody")


def ended() -> tuple[Lab, ActionId]:
    """Look at an action that succeeded before, labels and all."""
    lab = lab_of(success())
    action = lab.submit(TYPE)
    lab.settle()
    return lab, action


def succeeding() -> tuple[Lab, ActionId]:
    """End an action in this round."""
    lab = lab_of(success())
    return lab, lab.submit(TYPE)


def inputs_away() -> tuple[Lab, ActionId]:
    """Let the cache step before execution fail."""
    catalog = SmallCatalog()
    catalog.fail["reserve"] = BlobUnavailable("no answer")
    lab = lab_of(running(0), catalog=catalog)
    return lab, lab.submit(TYPE, metadata=CACHED, interface=Interface())


def system_error() -> tuple[Lab, ActionId]:
    """Let the plugin raise for the first time."""
    lab = lab_of(ValueError("x"))
    return lab, lab.submit(TYPE)


def over_budget() -> tuple[Lab, ActionId]:
    """Let the plugin raise once too often."""
    lab = lab_of(ValueError("x"))
    action = lab.submit(TYPE)
    for _ in range(3):
        lab.reconcile(action)
    return lab, action


def not_retryable() -> tuple[Lab, ActionId]:
    """Let the plugin raise what no retry can help."""
    lab = lab_of(BadTaskSpecification("x"))
    return lab, lab.submit(TYPE)


def cache_hit() -> tuple[Lab, ActionId]:
    """Find the outputs in the catalog."""
    catalog = SmallCatalog()
    lab = lab_of(outputs, catalog=catalog)
    lab.submit(TYPE, metadata=CACHED, interface=Interface())
    lab.settle()
    return lab, lab.submit(TYPE, metadata=CACHED, interface=Interface())


def waiting_for_cache() -> tuple[Lab, ActionId]:
    """Wait for a key that somebody else fills, with nothing changed since the last look."""
    lab = lab_of(running(0), catalog=SmallCatalog(owner="somebody"))
    action = lab.submit(TYPE, metadata=CACHED, interface=Interface())
    lab.reconcile(action)
    return lab, action


def restarted() -> tuple[Lab, ActionId]:
    """Spend a user retry without a back-off."""
    lab = lab_of(retryable_failure("E", "x"))
    return lab, lab.submit(TYPE, metadata=retries(1))


def restarted_later() -> tuple[Lab, ActionId]:
    """Spend a user retry with a back-off, which another wake-up does not shorten."""
    lab = lab_of(retryable_failure("E", "x"))
    lab.reconciler.rng.random = lambda: 0.0  # type: ignore[method-assign]  # no jitter
    action = lab.submit(TYPE, metadata=retries(1, backoff=timedelta(seconds=7)))
    lab.reconcile(action)
    return lab, action


def paused(timeout: timedelta | None = None) -> tuple[Lab, ActionId]:
    """Look at a condition nobody has answered."""
    lab = lab_of(running(0))
    spec = msgspec.json.encode(ConditionSpec(name="ok?", timeout=timeout))
    changes = {"action_type": "condition", "condition_spec": spec, "task_type": ""}
    return lab, stored(lab, msgspec.structs.replace(FULL, **changes))


def timed_out_condition() -> tuple[Lab, ActionId]:
    """Look at a condition whose deadline has passed."""
    lab, action = paused(timedelta(seconds=1))
    lab.clock.advance(1000)
    return lab, action


def deleted_unclaimed() -> tuple[Lab, ActionId]:
    """Abort an action before anything looked at it: there is no finalizer."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    lab.client.abort(action)
    return lab, action


def aborted(*on_abort: Exception | None, finalize: Exception | None = None) -> tuple[Lab, ActionId]:
    """Abort an action while it runs."""
    lab = lab_of(running(0), on_abort=list(on_abort), on_finalize=[finalize])
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.client.abort(action)
    return lab, action


@pytest.mark.rule("R7")
@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (not_found, DONE),
        (launched, WOKEN),
        (unchanged, Result(REQUEUE)),
        (rejected, DONE),
        (ended, DONE),
        (succeeding, DONE),
        (inputs_away, Result(REQUEUE)),
        (system_error, Result(REQUEUE)),
        (over_budget, DONE),
        (not_retryable, DONE),
        (cache_hit, DONE),
        (waiting_for_cache, Result(REQUEUE)),
        (restarted, WOKEN),
        (restarted_later, Result(7000)),
        (paused, DONE),
        (lambda: paused(timedelta(seconds=90)), Result(90_000)),
        (timed_out_condition, DONE),
        (deleted_unclaimed, DONE),
        (aborted, DONE),
        (lambda: aborted(OSError("x")), Result(REQUEUE)),
        (lambda: aborted(finalize=OSError("x")), Result(REQUEUE)),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_requeue(situation: Situation, expected: Result) -> None:
    """The round answers as the table says."""
    lab, action = situation()
    assert lab.reconcile(action) == expected


@pytest.mark.rule("R7")
@pytest.mark.parametrize(
    ("situation", "after"),
    [
        (launched, 0),
        (unchanged, REQUEUE),
        (rejected, None),
        (succeeding, 0),
        (system_error, REQUEUE),
        (paused, None),
        (restarted, 0),
        (aborted, None),
        (lambda: aborted(OSError("x")), REQUEUE),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_the_due_index_says_the_same(situation: Situation, after: int | None) -> None:
    """What the round answers is stored with it; an end that owes finalize is due at once, any other end never."""
    lab, action = situation()
    lab.reconcile(action)
    due = dict(lab.store.due(lab.store.shard_of(action.run_id)))
    assert due.get(action) == (None if after is None else lab.clock() + after)


@pytest.mark.rule("R7")
@pytest.mark.parametrize(
    "situation",
    [launched, succeeding, rejected, over_budget, aborted],
    ids=["event", "end", "rejection", "permanent failure", "finalizer removal"],
)
def test_a_write_that_fails_is_an_error(situation: Situation) -> None:
    """When event, status, labels or finalizer removal cannot be stored the round raises, and nothing of it stands."""
    lab, action = situation()
    before = lab.get(action)
    count = len(lab.events(action))
    fail_commits(lab)
    with pytest.raises(StoreUnavailable):
        lab.reconcile(action)
    after = lab.get(action)
    assert after.status == before.status
    assert after.metadata.completed_at == 0
    assert len(lab.events(action)) == count


@pytest.mark.rule("R7")
def test_an_end_that_owes_finalize_gets_one_more_round() -> None:
    """The end of an action is published first; finalize and the finalizer follow in a round of their own."""
    lab, action = succeeding()
    lab.reconcile(action)
    assert lab.get(action).metadata.finalizers == (FINALIZER,)
    lab.reconcile(action)
    assert lab.get(action).metadata.finalizers == ()
    assert lab.journal.words == ["handle", "event", "status", "label", "finalize", "finalizer"]

"""What dies: a worker, a step, a message. Nothing is lost, and nobody who comes back too late is believed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import TaskEnvironment
from reconciler.api.action import AttemptOutcome
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import success
from reconciler.stores.base import CommitOutcome, Finished, Write
from reconciler.testing import Lab, ScriptedPlugin

env = TaskEnvironment("manual12")


@env.task()
def thumbnail(key: str) -> str:
    """Tell where a picture lies."""
    return f"thumbs/{key}"


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client


def test_a_dead_worker_is_replaced(lab: Lab) -> None:
    """Its lease runs out, the call is launched again, and no retry is spent."""
    run = thumbnail.delay("cats/1.jpg")
    lab.step()
    lab.store.start_attempt(run.action, "1", owner="dead", lease=6000)
    lab.work()
    assert run.result() == "thumbs/cats/1.jpg"
    assert len(run.attempts()) == 1


def test_a_worker_that_wakes_up_too_late_is_refused(lab: Lab) -> None:
    """It shows the number of its launch, and another one counts by then."""
    run = thumbnail.delay("cats/1.jpg")
    lab.step()
    lab.store.start_attempt(run.action, "1", owner="zombie", lease=6000)
    lab.work()
    late = AttemptOutcome(ended="raised", code="Late", message="I was asleep")
    shard = lab.store.shard_of(run.action.run_id)
    assert lab.store.finish_attempts(shard, "zombie", [Finished(run.action, "1", late)]) == (False,)
    assert run.phase is ActionPhase.SUCCEEDED


def test_a_step_that_lost_its_claim_is_superseded() -> None:
    """A step that slept past its lease cannot write: another one has taken over."""
    lab = Lab([ScriptedPlugin("task", success())])
    action = lab.submit("task")
    shard = lab.store.shard_of(action.run_id)
    slow = lab.store.claim(shard, owner="slow", limit=1).actions[0]
    lab.clock.advance(timedelta(seconds=11))
    lab.settle()
    late = lab.store.commit(shard, [Write(action=slow, original=slow.copy(), status=True)])
    assert late.outcomes == (CommitOutcome.SUPERSEDED,)
    assert lab.get(action).phase is ActionPhase.SUCCEEDED

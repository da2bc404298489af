"""Ending: aborts, limits of time, lost owners, and forgetting."""

from __future__ import annotations

from datetime import timedelta

import pytest
from test_01_submitting import nap

from reconciler.api.errors import ActionAborted, ActionNotFound, ActionTimedOut
from reconciler.api.phase import ActionPhase
from reconciler.api.template import TaskMetadata, Timeouts
from reconciler.api.transition import running, success
from reconciler.stores.base import AbortOutcome, CommitOutcome, Write
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab, ScriptedPlugin


def test_an_abort_is_stored_and_ends_with_its_reason() -> None:
    """The plugin is stopped, the action ends aborted, and reason and actor are told."""
    plugin = ScriptedPlugin("task", running(0))
    lab = Lab([plugin])
    action = lab.submit("task")
    lab.step()
    assert lab.client.abort(action, "wrong bucket", actor="ada") is AbortOutcome.REQUESTED
    lab.settle()
    last = lab.events(action)[-1]
    assert (last.phase, last.final, last.actor) == (ActionPhase.ABORTED, True, "ada")
    assert len(plugin.aborted) == 1
    with pytest.raises(ActionAborted, match="wrong bucket"):
        lab.client.result(action)


def test_an_abort_reaches_all_descendants(lab: Lab) -> None:
    """Aborting a root ends every action of its run."""
    run = lab.client.submit_many([nap(3600)] * 5)
    lab.step()
    run.abort("enough")
    lab.settle(timedelta(minutes=1))
    assert run.counts.phases == {ActionPhase.ABORTED: 6}


def test_an_end_is_never_overwritten(lab: Lab) -> None:
    """Aborting what has succeeded changes nothing."""
    run = lab.client.submit(nap())
    lab.settle()
    assert run.abort() is AbortOutcome.ENDED
    lab.settle()
    assert run.phase is ActionPhase.SUCCEEDED


def test_a_running_limit_ends_the_action() -> None:
    """A task that runs longer than it may ends timed out, and its plugin is stopped."""
    plugin = ScriptedPlugin("task", running(0))
    lab = Lab([plugin])
    action = lab.submit("task", metadata=TaskMetadata(timeouts=Timeouts(running=timedelta(minutes=10))))
    lab.settle()
    with pytest.raises(ActionTimedOut, match="RunningTimedOut"):
        lab.client.result(action)
    assert plugin.aborted


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


def test_what_ended_is_forgotten_after_its_retention(lab: Lab) -> None:
    """An ended action is kept for an hour, then the collector removes it with all its traces."""
    run = lab.client.submit(nap())
    lab.settle()
    lab.clock.advance(timedelta(minutes=59))
    assert collect(lab.store, lab.settings) == 0
    lab.clock.advance(timedelta(minutes=2))
    assert collect(lab.store, lab.settings) == 1
    with pytest.raises(ActionNotFound):
        lab.client.get(run.action)
    assert lab.client.runs() == []

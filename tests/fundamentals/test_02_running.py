"""Running: phases, events, results, groups."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from test_01_submitting import nap

from reconciler.api.errors import ActionFailed
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, RetryStrategy, TaskMetadata
from reconciler.api.transition import failure, queued, retryable_failure, running, success
from reconciler.testing import Lab, ScriptedPlugin


def test_a_sleep_holds_no_worker_and_ends_in_time(lab: Lab) -> None:
    """It is running until its duration has passed, then it has succeeded."""
    run = lab.client.submit(nap(3600))
    lab.step()
    assert run.phase is ActionPhase.RUNNING
    lab.clock.advance(timedelta(minutes=59))
    lab.step()
    assert run.phase is ActionPhase.RUNNING
    lab.settle()
    assert run.phase is ActionPhase.SUCCEEDED


def test_outputs_are_read_back(lab: Lab) -> None:
    """`result` gives what the task wrote."""
    interface = Interface(inputs={"x": "int"}, outputs={"y": "int"})
    action = lab.submit("echo", inputs={"x": 42}, interface=interface)
    lab.settle()
    assert lab.client.result(action) == 42


def test_events_tell_the_story_once() -> None:
    """One event for each change, numbered without gaps, with exactly one final one."""
    lab = Lab([ScriptedPlugin("task", queued(0, 0, "sent"), running(0), running(0), success())])
    action = lab.submit("task")
    lab.settle()
    story = [(e.sequence, e.phase, e.final) for e in lab.events(action)]
    assert story == [
        (1, ActionPhase.QUEUED, False),
        (2, ActionPhase.QUEUED, False),
        (3, ActionPhase.RUNNING, False),
        (4, ActionPhase.SUCCEEDED, True),
    ]


def test_a_failed_attempt_is_followed_by_the_next() -> None:
    """FAILED of attempt 1 with its error, then QUEUED of attempt 2; the end counts once."""
    plugin = ScriptedPlugin("task", retryable_failure("Oops", "try me again"), success())
    lab = Lab([plugin])
    action = lab.submit("task", metadata=TaskMetadata(retries=RetryStrategy(retries=1)))
    lab.settle()
    story = [(e.attempt, e.phase, e.final) for e in lab.events(action)][1:]
    assert story == [
        (1, ActionPhase.FAILED, False),
        (2, ActionPhase.QUEUED, False),
        (2, ActionPhase.SUCCEEDED, True),
    ]


def test_a_failure_says_why() -> None:
    """`result` raises with code, kind and message of the failure."""
    lab = Lab([ScriptedPlugin("task", failure("BadInput", "no such key"))])
    action = lab.submit("task")
    lab.settle()
    with pytest.raises(ActionFailed) as failed:
        lab.client.result(action)
    assert (failed.value.code, failed.value.kind, failed.value.message) == ("BadInput", "USER", "no such key")


def test_a_group_ends_when_all_its_members_have(lab: Lab) -> None:
    """The last member to end wakes the root; nobody polls."""
    run = lab.client.submit_many([nap(1), nap(60), nap(30)])
    lab.settle()
    assert run.phase is ActionPhase.SUCCEEDED
    assert run.result() == [None, None, None]
    assert run.counts.total == 4


def test_partial_failures_are_kept_if_asked() -> None:
    """With `keep_failures` the group succeeds, and each member's outcome can be read."""
    lab = Lab([ScriptedPlugin("good", success()), ScriptedPlugin("bad", failure("No", "never"))])
    good, bad = (lab.get(lab.submit(kind)).spec for kind in ("good", "bad"))
    specs = [msgspec.structs.replace(s, run_name="", action_name="", run_output_base="") for s in (good, bad)]
    run = lab.client.submit_many(specs, keep_failures=True)
    lab.settle()
    outcomes = run.outcomes()
    assert outcomes[0] is None
    assert isinstance(outcomes[1], ActionFailed)

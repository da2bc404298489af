"""`group`: the parent of a map, which ends when all its children have (R2)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.api.action import ActionId, ActionSpec, Result
from reconciler.api.errors import ActionFailed
from reconciler.api.phase import ActionPhase
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.api.transition import failure, running, success
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = pytest.mark.rule("R2")
CHILD = ActionSpec(task_type="child", task_template=encode_template(TaskTemplate(type="child")), inputs=b"{}")


def group(lab: Lab, expected: object, **more: object) -> ActionId:
    """Submit a group that waits for so many children."""
    return lab.submit("group", inputs={"expected": expected, **more})


def child(lab: Lab, parent: ActionId, name: str) -> ActionId:
    """Store one child of a group."""
    return lab.submit("child", run_name=parent.run, action_name=name, parent_action_name=parent.action)


def test_a_group_without_children_succeeds() -> None:
    """Nothing to wait for is success."""
    lab = Lab()
    action = group(lab, 0)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


def test_a_group_ends_when_all_its_children_have() -> None:
    """The last child to end wakes the group: it succeeds without waiting for its next look."""
    lab = Lab([ScriptedPlugin("child", success())])
    run = lab.client.submit_many([CHILD] * 3)
    lab.settle()
    assert lab.get(run.action).phase is ActionPhase.SUCCEEDED
    assert lab.clock() == lab.get(run.action).metadata.creation_timestamp


def test_a_group_with_open_children_looks_again_in_a_minute() -> None:
    """While children are open the group is rarely looked at."""
    lab = Lab([ScriptedPlugin("child", success())])
    parent = group(lab, 1)
    child(lab, parent, "c1")
    assert lab.reconcile(parent) == Result(60_000)
    assert lab.get(parent).phase is ActionPhase.RUNNING


def test_a_failed_child_fails_the_group() -> None:
    """A group says how many of its children did not succeed."""
    lab = Lab([ScriptedPlugin("child", failure("E", "m"), success())])
    run = lab.client.submit_many([CHILD] * 3)
    lab.settle()
    error = lab.get(run.action).status.error_state
    assert error is not None
    assert (error.code, error.message) == ("ChildrenFailed", "1 of 3 children did not succeed")


def test_a_group_may_keep_failures() -> None:
    """A group that keeps failures succeeds, and each child's error can be read."""
    lab = Lab([ScriptedPlugin("child", failure("E", "m"), success())])
    run = lab.client.submit_many([CHILD] * 2, keep_failures=True)
    lab.settle()
    assert lab.get(run.action).phase is ActionPhase.SUCCEEDED
    outcomes = lab.client.outcomes([run.action.run_id.action(f"m{i}") for i in range(2)], bytes)
    assert sum(isinstance(outcome, ActionFailed) for outcome in outcomes) == 1


def test_missing_children_have_time_to_come() -> None:
    """A group waits two minutes from its creation for children that were announced."""
    lab = Lab([ScriptedPlugin("child", success())])
    parent = group(lab, 2)
    child(lab, parent, "c1")
    lab.clock.advance(timedelta(seconds=90))
    assert lab.reconcile(parent) == Result(30_000)
    child(lab, parent, "c2")
    lab.settle()
    assert lab.get(parent).phase is ActionPhase.SUCCEEDED


def test_children_that_never_come_fail_the_group() -> None:
    """A submitter that died half way leaves a group that fails and says how to go on."""
    lab = Lab([ScriptedPlugin("child", success())])
    parent = group(lab, 2)
    child(lab, parent, "c1")
    lab.settle()
    error = lab.get(parent).status.error_state
    assert error is not None
    assert error.code == "IncompleteSubmission"
    assert error.message.startswith("1 of 2 children were never stored")
    assert lab.clock() == lab.get(parent).metadata.creation_timestamp + 120_000


@pytest.mark.rule("R86")
def test_a_group_of_a_function_waits_as_long_as_it_lives() -> None:
    """A function whose worker is lost half way may be called again an hour later: it stores what is missing then."""
    lab = Lab([ScriptedPlugin("child", success()), ScriptedPlugin("caller", running(0))])
    caller = lab.submit("caller")
    lab.step()
    name = {"run_name": caller.run, "action_name": "g", "parent_action_name": caller.action}
    parent = lab.submit("group", inputs={"expected": 2, "called_again": True}, **name)
    child(lab, parent, "c1")
    lab.clock.advance(timedelta(hours=1))
    assert lab.reconcile(parent) == Result(60_000)
    child(lab, parent, "c2")
    for _ in range(4):
        lab.step()
    assert lab.get(parent).phase is ActionPhase.SUCCEEDED


@pytest.mark.parametrize("expected", [None, "many", 1.5])
def test_a_group_must_know_its_number(expected: object) -> None:
    """Inputs that do not say how many children to expect end the group at once."""
    lab = Lab()
    action = group(lab, expected)
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert error.code == "BadTaskSpecification"
    assert "must say how many children to expect" in error.message

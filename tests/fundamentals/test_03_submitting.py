"""Submitting: what was accepted is stored, once; and unknown is never a phase."""

from __future__ import annotations

import pytest

from reconciler import TaskEnvironment
from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.errors import ActionConflict, ActionNotFound, InvalidName
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.testing import Lab

env = TaskEnvironment("manual3")


@env.task()
def charge(order: int, cents: int) -> str:
    """Charge for an order."""
    return f"order {order}: {cents}"


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client


def test_the_same_key_gives_the_first_run(lab: Lab) -> None:
    """Submitting again under one idempotency key starts nothing new: a caller that got no answer may ask again."""
    first = charge.submit((7, 100), idempotency_key="order-7")
    again = charge.submit((7, 100), idempotency_key="order-7")
    assert again.action == first.action
    assert len(lab.client.runs()) == 1


def test_the_same_key_for_another_call_is_a_conflict(lab: Lab) -> None:
    """The error names the fields that differ, and the stored action stays as it was."""
    first = charge.submit((7, 100), idempotency_key="order-7")
    with pytest.raises(ActionConflict) as conflict:
        charge.submit((7, 999), idempotency_key="order-7")
    assert conflict.value.fields == ("inputs",)
    assert lab.get(first.action).spec.inputs == b'{"order":7,"cents":100}'


def test_an_unknown_action_is_an_error_not_a_phase(lab: Lab) -> None:
    """Asking for an action nobody submitted raises; it is never "pending"."""
    with pytest.raises(ActionNotFound, match="never accepted"):
        lab.client.get(ActionId("p", "d", "r", "a0"))


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "{a}", "..", "a b", "é", "x" * 31, "a\n"])
def test_a_bad_name_is_refused_at_the_door(lab: Lab, name: str) -> None:
    """No name can reach into a key or a path; nothing is stored."""
    with pytest.raises(InvalidName):
        ActionId("p", "d", name, "a0").checked()
    assert lab.client.runs() == []


def test_a_run_can_be_named_and_labelled(lab: Lab) -> None:
    """The name is the caller's, and labels can be read back."""
    run = charge.submit((7, 100), run="order-7", labels={"team": "billing"})
    assert run.id.run == "order-7"
    assert lab.get(run.action).labels["team"] == "billing"


def test_large_inputs_lie_in_s3(lab: Lab) -> None:
    """Inputs above the inline limit are stored as an object, and the record holds its digest."""
    interface = Interface(inputs={"duration": "duration"})
    template = encode_template(TaskTemplate(type="core-sleep", interface=interface))
    spec = ActionSpec(task_type="core-sleep", task_template=template, inputs=b'{"duration": 0}' + b" " * 5000)
    record = lab.get(lab.client.submit(spec).action)
    assert record.spec.inputs is None
    stored = lab.blobs.get(record.spec.input_uri + "/inputs.pb", sha256=record.spec.inputs_digest)
    assert stored == spec.inputs

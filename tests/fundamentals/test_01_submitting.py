"""Submitting: what was accepted is stored, once, and unknown is never a phase."""

from __future__ import annotations

import pytest

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.errors import ActionConflict, ActionNotFound, InvalidName, InvalidSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.testing import Lab

TEMPLATE = encode_template(
    TaskTemplate(type="core-sleep", interface=Interface(inputs={"duration": "duration"}))
)


def nap(seconds: int = 0) -> ActionSpec:
    """A spec of the built-in sleep task."""
    return ActionSpec(task_type="core-sleep", task_template=TEMPLATE, inputs=b'{"duration":%d}' % seconds)


def test_an_accepted_action_is_stored_and_queued(lab: Lab) -> None:
    """When `submit` returns, the record is there, queued, with its first event, before anything ran."""
    run = lab.client.submit(nap())
    assert run.phase is ActionPhase.QUEUED
    assert [event.phase for event in run.events()] == [ActionPhase.QUEUED]


def test_an_unknown_action_is_an_error_not_a_phase(lab: Lab) -> None:
    """Asking for an action nobody submitted raises; it is never "pending"."""
    with pytest.raises(ActionNotFound, match="never accepted"):
        lab.client.get(ActionId("p", "d", "r", "a0"))


def test_the_same_key_gives_the_first_run(lab: Lab) -> None:
    """Submitting again under one idempotency key starts nothing new."""
    first = lab.client.submit(nap(), idempotency_key="order-7")
    again = lab.client.submit(nap(), idempotency_key="order-7")
    assert again.action == first.action
    assert len(lab.client.runs()) == 1


def test_the_same_name_with_another_spec_is_a_conflict(lab: Lab) -> None:
    """The error names the fields that differ, and the stored action stays as it was."""
    run = lab.client.submit(nap(0), idempotency_key="order-7")
    with pytest.raises(ActionConflict) as conflict:
        lab.client.submit(nap(5), idempotency_key="order-7")
    assert conflict.value.fields == ("inputs",)
    assert lab.get(run.action).spec.inputs == b'{"duration":0}'


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "{a}", "..", "a b", "é", "x" * 31, "a\n"])
def test_a_bad_name_is_refused_at_the_door(lab: Lab, name: str) -> None:
    """No name can reach into a key or a path; nothing is stored."""
    with pytest.raises(InvalidName):
        ActionId("p", "d", name or "", "a0").checked()
    assert lab.client.runs() == []


def test_large_inputs_lie_in_s3(lab: Lab) -> None:
    """Inputs above the inline limit are stored as an object, and the record holds its digest."""
    spec = ActionSpec(task_type="core-sleep", task_template=TEMPLATE, inputs=b'{"duration": 0}' + b" " * 5000)
    record = lab.get(lab.client.submit(spec).action)
    assert record.spec.inputs is None
    assert (
        lab.blobs.get(record.spec.input_uri + "/inputs.pb", sha256=record.spec.inputs_digest) == spec.inputs
    )


def test_nothing_to_submit_is_an_error(lab: Lab) -> None:
    """An empty group is refused instead of running for ever."""
    with pytest.raises(InvalidSpec, match="at least one"):
        lab.client.submit_many([])

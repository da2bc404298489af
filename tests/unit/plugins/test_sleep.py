"""`core-sleep` (R73): waits without holding a worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reconciler.api.action import ActionId, ActionSpec, Result
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.plugins.sleep import SleepPlugin
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R73")
DURATION = Interface(inputs={"for": "duration"})


def sleep(lab: Lab, value: Any, interface: Interface | None = DURATION, name: str = "for") -> ActionId:
    """Submit a sleep."""
    return lab.submit("core-sleep", inputs={name: value}, interface=interface)


@pytest.mark.parametrize("value", [90, 90.0, "PT1M30S", "PT90S"])
def test_it_ends_after_its_duration(value: object) -> None:
    """Seconds as a number and ISO 8601 durations are slept to the millisecond."""
    lab = Lab()
    action = sleep(lab, value)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert lab.clock() == lab.get(action).metadata.creation_timestamp + 90_000


def test_it_is_looked_at_only_when_it_ends() -> None:
    """A sleep asks for exactly one further look, however long it is."""
    lab = Lab()
    assert lab.reconcile(sleep(lab, 86_400)) == Result(86_400_000)


def test_no_time_is_no_round_more() -> None:
    """A sleep of zero succeeds at once and remembers nothing."""
    lab = Lab()
    action = sleep(lab, 0)
    lab.reconcile(action)
    record = lab.get(action)
    assert record.phase is ActionPhase.SUCCEEDED
    assert record.status.plugin_state == b""


@pytest.mark.rule("R73")
def test_the_start_survives_the_process() -> None:
    """Another process goes on where the first one began: the start lies in the record."""
    lab = Lab()
    action = sleep(lab, 60)
    lab.reconcile(action)
    lab.clock.advance(timedelta(seconds=59))
    lab.reconciler.plugin_registry._plugins["core-sleep"] = SleepPlugin()
    assert lab.reconcile(action) == Result(1000)
    lab.clock.advance(timedelta(seconds=1))
    lab.reconcile(action)
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


@pytest.mark.parametrize(
    "interface",
    [
        None,
        Interface(),
        Interface(inputs={"for": "int"}),
        Interface(inputs={"for": "duration", "more": "int"}),
        Interface(inputs={"for": "duration"}, outputs={"o0": "int"}),
    ],
    ids=["none", "empty", "no duration", "two inputs", "outputs"],
)
def test_another_interface_is_refused(interface: Interface | None) -> None:
    """Anything but one duration in and nothing out fails for good, by the user's fault."""
    lab = Lab()
    action = sleep(lab, 1, interface)
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, error.kind) == ("BadTaskSpecification", "USER")
    assert "exactly one input of type duration and no outputs" in error.message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1, "must not be negative"),
        ("-PT1S", "must not be negative"),
        ("soon", "is no duration"),
        (True, "is no duration"),
        (None, "is no duration"),
        ([1], "is no duration"),
        (1e300, "is no duration"),
        ("P999999999D", "must be at most 3650 days"),
    ],
)
def test_another_value_is_refused(value: object, text: str) -> None:
    """A value that is no duration, is negative or is beyond all time fails for good and names the input."""
    lab = Lab()
    action = sleep(lab, value)
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert error.code == "BadTaskSpecification"
    assert error.message.startswith("input 'for'")
    assert text in error.message


def test_a_missing_input_is_refused() -> None:
    """A sleep without its input fails for good and names it."""
    lab = Lab()
    action = sleep(lab, 1, name="other")
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert error.message == "the inputs hold no 'for'"


def test_unreadable_inputs_are_tried_again() -> None:
    """Inputs that cannot be read now are no fault of the task."""
    lab = Lab()
    action = lab.submit("core-sleep", inputs={"for": 1, "pad": "x" * 5000}, interface=DURATION)
    lab.blobs.delete_prefix(lab.get(action).spec.input_uri)
    lab.reconcile(action)
    record = lab.get(action)
    assert not record.is_terminal
    assert record.status.system_failures == 1


def test_an_abort_ends_it_at_once() -> None:
    """A sleep holds nothing that would have to be stopped."""
    lab = Lab()
    action = sleep(lab, 3600)
    lab.reconcile(action)
    lab.client.abort(action)
    lab.step(action)
    assert lab.get(action).phase is ActionPhase.ABORTED


@pytest.mark.parametrize(
    "inputs",
    [
        b"nonsense",
        b"",
        b"[]",
        b'{"for": NaN}',
        b'{"for": 1e400}',
        b'{"for": "\xff\xfe"}',
        b'{"for": %b}' % (b"9" * 5_000),
        b'{"for": 5}x',
        b'{"for": %b}' % (b"[" * 100_000 + b"]" * 100_000),
        b'{"for": %b}' % (b"[" * 500 + b"]" * 500),
    ],
)
def test_given_inputs_are_not_read_again(inputs: bytes) -> None:
    """Nor are those at a URI with a digest: they never change, so what is no JSON object is an error of the task at once."""
    lab = Lab()
    action = lab.run(_with(inputs=inputs)).action
    lab.settle()
    record = lab.get(action)
    assert record.phase is ActionPhase.FAILED
    assert record.status.system_failures == 0
    assert record.status.error_state is not None
    assert record.status.error_state.code == "BadTaskSpecification"


def _with(**inputs: Any) -> ActionSpec:
    template = encode_template(TaskTemplate(type="core-sleep", interface=DURATION))
    return ActionSpec(task_type="core-sleep", task_template=template, **inputs)


def test_unreadable_inputs_are_raised() -> None:
    """An object that is no JSON object is the platform's to explain: raised as READ_FAILED, not a wrong task."""
    lab = Lab()
    uri = "s3://memory/given"
    lab.blobs.put(f"{uri}/inputs.pb", b"nonsense")
    action = lab.run(_with(input_uri=uri)).action
    lab.reconcile(action)
    assert lab.get(action).status.system_failures == 1
    assert "the inputs are no JSON object" in lab.audit()[0].message

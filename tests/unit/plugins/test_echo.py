"""`echo` (R73): copies its single input to its single output."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.api.action import Result
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface
from reconciler.plugins.echo import TASK_TYPE, EchoPlugin
from reconciler.plugins.registry import PluginEntry
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R73")
ONE = Interface(inputs={"x": "any"}, outputs={"y": "any"})


@pytest.mark.parametrize("value", [1, "text", None, [1, {"a": 2.5}], 2**60 + 1])
def test_the_input_is_copied(value: object) -> None:
    """Whatever the value, it comes out unchanged under the name of the output."""
    lab = Lab()
    action = lab.submit("echo", inputs={"x": value}, interface=ONE)
    lab.settle()
    assert lab.client.result(action) == value


@pytest.mark.parametrize("interface", [None, Interface()], ids=["none", "empty"])
def test_nothing_in_nothing_out(interface: Interface | None) -> None:
    """Without inputs and outputs there is nothing to copy: it succeeds."""
    lab = Lab()
    action = lab.submit("echo", interface=interface)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert lab.get(action).status.outputs is None


@pytest.mark.parametrize(
    "interface",
    [
        Interface(inputs={"x": "int"}),
        Interface(outputs={"y": "int"}),
        Interface(inputs={"a": "int", "b": "int"}, outputs={"c": "int", "d": "int"}),
    ],
    ids=["no output", "no input", "two of each"],
)
def test_another_interface_is_refused(interface: Interface) -> None:
    """More than one of each, or not as many, ends the action at once and says what is needed."""
    lab = Lab()
    action = lab.submit("echo", inputs={"x": 1}, interface=interface)
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert error.code == "BadTaskSpecification"
    assert error.message.startswith("echo needs as many inputs as outputs, at most one each")


def test_a_missing_input_is_named() -> None:
    """A declared input that was not given ends the action at once and names it."""
    lab = Lab()
    action = lab.submit("echo", inputs={"z": 1}, interface=ONE)
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, error.message) == (
        "BadTaskSpecification",
        "the inputs hold no 'x', which echo was to copy",
    )


@pytest.mark.rule("R73")
def test_a_delay_is_waited_out() -> None:
    """With a delay it runs that long, counted from the first look, which lies in the record."""
    delayed = PluginEntry(id="e", task_types=(TASK_TYPE,), load=lambda: EchoPlugin(timedelta(seconds=5)))
    lab = Lab([delayed])
    action = lab.submit("echo", inputs={"x": 1}, interface=ONE)
    assert lab.reconcile(action) == Result(5000)
    lab.clock.advance(2000)
    assert lab.reconcile(action) == Result(3000)
    lab.settle()
    assert lab.client.result(action) == 1
    assert lab.clock() == lab.get(action).metadata.creation_timestamp + 5000

"""Whose fault it is that stored inputs do not fit: the submitter's, unless they were made for another interface."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.api.action import ActionId, ActionSpec, TaskAction
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.core.functions import interface_digest
from worker.attempts.broken import broken
from worker.attempts.fitness import CannotRun, check_unfit
from worker.runner.runner import NotStarted, Stopped

pytestmark = pytest.mark.rule("R74")
INPUTS, OUTPUTS = {"x": "int"}, {"o0": "str"}
OURS, OTHER = interface_digest(INPUTS, OUTPUTS, ()), "f" * 16


def checked(found: Any, *, told: bool = True) -> None:
    """Check inputs that did not fit, where the process of functions answers this."""
    interface = Interface(inputs=INPUTS, outputs=OUTPUTS) if told else None
    template = TaskTemplate(type="function", interface=interface, custom={"function": "shop.f"})
    spec = ActionSpec(task_type="function", task_template=encode_template(template))
    runner: Any = SimpleNamespace(functions=lambda **_: found)
    beat: Any = SimpleNamespace(reason=None)
    check_unfit(runner, TaskAction(ActionId("p", "d", "r", "a0"), spec), beat, "no")


@pytest.mark.parametrize(
    ("found", "told"),
    [({"shop.f": OURS}, True), ({"shop.f": OTHER}, False), (Stopped("aborted", killed=False), True)],
)
def test_it_is_the_submitters(found: object, told: bool) -> None:  # noqa: FBT001  # a case
    """With the interface they were made for, or none said; and of a call that is stopped nothing is asked any more."""
    checked(found, told=told)


def test_another_interface_is_not_the_submitters() -> None:
    """The launch goes back, and says which interface was tried."""
    with pytest.raises(CannotRun, match="no") as refused:
        checked({"shop.f": OTHER})
    assert refused.value.unfit == OTHER


@pytest.mark.parametrize("found", [NotStarted("no space"), {}])
def test_a_process_that_cannot_say_is_not_the_submitters(found: object) -> None:
    """It has ended since it refused the inputs, and another one was not started, or lacks the function."""
    with pytest.raises(CannotRun) as refused:
        checked(found)
    broken.mend()
    assert refused.value.unfit == ""

"""What a plugin returns of the wrong type is its own failure, and nobody else's (R20, R59)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from control_support import TYPE, lab_of

from reconciler.api.errors import ReconcilerError
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.transition import (
    ErrorKind,
    ExecutionError,
    LogLink,
    OutputRef,
    PhaseInfo,
    TaskInfo,
    running,
    success,
)
from reconciler.core.plugin_results import MistypedResult, check_types

pytestmark = pytest.mark.rule("R59")


def deep(levels: int) -> dict[str, Any]:
    """Return a document with so many levels."""
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


def answer(**fields: Any) -> PhaseInfo:
    """Return an answer with these fields, whatever their types."""
    return PhaseInfo(phase=PluginPhase.RUNNING, **fields)


MISTYPED = {
    "version": answer(version=1.5),
    "version as text": answer(version="1"),
    "time": answer(requeue_at=2.0),
    "time beyond": answer(requeue_at=2**64),
    "time before": answer(requeue_at=-1),
    "begin before": answer(info=TaskInfo(occurred_at=-1)),
    "begin beyond": answer(info=TaskInfo(occurred_at=2**60)),
    "reason": answer(reason=None),
    "code": answer(err=ExecutionError(1, "x")),  # type: ignore[arg-type]  # the point
    "message": answer(err=ExecutionError("X", ValueError("x"))),  # type: ignore[arg-type]  # the point
    "kind": answer(err=ExecutionError("X", "x", "nobody's")),  # type: ignore[arg-type]  # the point
    "size": answer(info=TaskInfo(outputs=OutputRef(uri="s3://b/o", size=1.5))),  # type: ignore[arg-type]  # the point
    "link": answer(info=TaskInfo(logs=(LogLink("a", 3),))),  # type: ignore[arg-type]  # the point
    "context": answer(info=TaskInfo(log_context=deep(100_000))),
}


@pytest.mark.parametrize("wrong", MISTYPED.values(), ids=MISTYPED)
def test_a_mistyped_answer_is_counted_and_spoils_no_neighbour(wrong: PhaseInfo) -> None:
    """It is a system failure with its budget, the record stays readable, and others of the batch go on."""
    lab = lab_of(wrong)
    actions = [lab.submit(TYPE, run_name=f"r{number}") for number in range(2)]
    lab.step()
    assert [lab.get(action).status.system_failures for action in actions] == [1, 1]
    lab.settle()
    assert [lab.get(action).phase for action in actions] == [ActionPhase.FAILED] * 2
    error = lab.get(actions[0]).status.error_state
    assert error is not None
    assert error.code == "MaxSystemFailuresExceeded"


@pytest.mark.parametrize(
    "fine",
    [
        running(3, TaskInfo(occurred_at=5, logs=(LogLink("a", "b"),), custom_info={"free": object()})),
        success(TaskInfo(outputs=OutputRef(uri="s3://b/o", size=3))),
        answer(err=ExecutionError("X", "x", "USER")),  # type: ignore[arg-type]  # an enum of texts
        answer(err=ExecutionError("X", "x", ErrorKind.SYSTEM), reason="because", version=7, requeue_at=9),
    ],
)
def test_what_is_well_typed_passes(fine: PhaseInfo) -> None:
    """An answer of the declared types is taken, whatever a plugin keeps in its own part."""
    check_types(fine)


def test_the_error_names_what_is_wrong() -> None:
    """Whoever writes a plugin is told which value it was."""
    with pytest.raises(MistypedResult, match=r"version '1', an int from 0 on is needed"):
        check_types(msgspec.structs.replace(running(0), version="1"))
    assert issubclass(MistypedResult, ReconcilerError)

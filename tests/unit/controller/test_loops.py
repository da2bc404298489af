"""A plugin that goes round in circles: the budget of a lifetime ends it, and each round waits longer."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from control_support import TYPE, lab_of

from reconciler.api.phase import ActionPhase
from reconciler.api.transition import (
    PhaseInfo,
    initializing,
    queued,
    running,
    system_retryable_failure,
)
from reconciler.plugins.context import TaskExecutionContext
from reconciler.testing.lab import Lab

GONE = system_retryable_failure("Gone", "create says it exists, get says it is gone")


class Circle:
    """Half a success, then a system failure, for ever (flyte#8066)."""

    def __init__(self, *half: PhaseInfo) -> None:
        self.half = half
        self.calls: list[int] = []

    def __call__(self, ctx: TaskExecutionContext) -> PhaseInfo:
        """Return the next answer."""
        self.calls.append(ctx.now)
        return (*self.half, GONE)[(len(self.calls) - 1) % (len(self.half) + 1)]


QUEUED, PREPARED = queued(0, 0, "line"), initializing(0, 0, "image")


@pytest.mark.parametrize("half", [(), (QUEUED,), (QUEUED, PREPARED), (QUEUED, PREPARED, running(0))])
def test_a_circle_ends_by_the_budget_of_a_lifetime(half: tuple[PhaseInfo, ...]) -> None:
    """However far each round gets before it fails, the action ends, by the system's fault, within its total budget."""
    circle = Circle(*half)
    lab, action, error = ended(circle)
    rounds = len(circle.calls) / (len(half) + 1)
    assert error.code == "MaxSystemFailuresExceeded"
    assert rounds <= lab.settings.max_total_system_failures + 1
    assert [e.final for e in lab.events(action)].count(True) == 1


def test_rounds_of_a_circle_back_off() -> None:
    """A circle does not spin: no minute sees more than a few of its rounds, and the user's retries are not spent."""
    circle = Circle(QUEUED, running(0))
    lab, action, _ = ended(circle)
    failures = circle.calls[2::3]
    gaps = [later - earlier for earlier, later in itertools.pairwise(failures)]
    assert len(gaps) >= 3, "it ended before it could go round"
    assert min(gaps) >= 1000
    assert max(sum(1 for at in failures if start <= at < start + 60_000) for start in failures) <= 6
    assert lab.get(action).status.attempts <= 1


def ended(circle: Circle) -> tuple[Lab, Any, Any]:
    """Run a circle to its end."""
    lab = lab_of(circle)
    action = lab.submit(TYPE)
    lab.settle()
    record = lab.get(action)
    assert record.phase is ActionPhase.FAILED
    return lab, action, record.status.error_state

"""A resource no quota is registered for: its actions wait, as those of an unknown function, and say for what (R70)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reconciler.api.action import ActionId
from reconciler.api.phase import ActionPhase
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.api.transition import PhaseInfo, success
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.function_config import TASK_TYPE
from reconciler.plugins.managers import Allocation
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = pytest.mark.rule("R70")
PATIENCE = timedelta(minutes=10)


def asking(ctx: TaskExecutionContext) -> PhaseInfo:
    """Return a plugin of a user that asks as it should."""
    answer = ctx.allocate("licence")
    return success() if answer.allocation is Allocation.GRANTED else ctx.wait_for("licence", answer)


def waiting(lab: Lab, action: ActionId) -> str:
    """Check that it waits and has spent nothing; returns for what."""
    record = lab.get(action)
    assert record.phase is ActionPhase.WAITING_FOR_RESOURCES
    assert (record.status.attempts, record.status.total_system_failures) == (1, 0)
    return next(c.message for c in record.status.conditions if c.type == "Progressing")


def steps(lab: Lab, action: ActionId, time: timedelta) -> int:
    """Do what becomes due in this time; returns how many looks there were."""
    looks, ends = 0, lab.clock() + int(time.total_seconds() * 1000)
    while lab.clock() < ends and not lab.get(action).phase.is_terminal():
        lab.clock.advance(timedelta(seconds=1))
        looks += lab.step(action).claimed
    return looks


@pytest.fixture
def lab() -> Lab:
    """A lab without any quota, with a patience of ten minutes."""
    return Lab([ScriptedPlugin("task", asking)], unknown_function_patience=PATIENCE)


def test_it_waits_for_the_quota_and_says_so(lab: Lab) -> None:
    """Nothing is spent, whoever asks sees the remedy, and once workers know the quota it goes on by itself."""
    action = lab.submit("task")
    steps(lab, action, PATIENCE - timedelta(seconds=30))
    assert 'no quota is registered for the resource "licence": name it in RECONCILER_QUOTAS' in waiting(
        lab, action
    )
    lab.reconciler.resource_manager.register_quota("licence", 1)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


def test_its_patience_ends(lab: Lab) -> None:
    """At last it fails by the platform's error, once, with the code of what is missing."""
    action = lab.submit("task")
    lab.settle()
    record = lab.get(action)
    assert record.phase is ActionPhase.FAILED
    assert record.status.error_state is not None
    assert (record.status.error_state.code, record.status.error_state.kind) == ("QuotaUnknown", "SYSTEM")
    assert "It waited 10m" in record.status.error_state.message
    assert record.status.total_system_failures == 0


def test_its_patience_begins_anew(lab: Lab) -> None:
    """A worker that knows the quota, though it is used up, ends the time in which none was known."""
    manager: Any = lab.reconciler.resource_manager
    action = lab.submit("task")
    steps(lab, action, PATIENCE - timedelta(seconds=60))
    manager.register_quota("licence", 0)
    steps(lab, action, timedelta(minutes=2))
    assert "is used up" in waiting(lab, action)
    del manager._quotas["licence"]
    steps(lab, action, PATIENCE - timedelta(seconds=60))
    assert "no quota is registered" in waiting(lab, action)


def test_a_function_waits_alike() -> None:
    """No launch is sent before the units are granted, and nothing is failed in between."""
    lab = Lab()
    template = TaskTemplate(type=TASK_TYPE, custom={"function": "f", "resource": "licence"})
    action = lab.submit(TASK_TYPE, task_template=encode_template(template))
    steps(lab, action, timedelta(minutes=2))
    assert "RECONCILER_QUOTAS" in waiting(lab, action)
    assert not lab.get(action).attempt.launch

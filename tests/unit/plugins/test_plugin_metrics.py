"""What is counted of quotas and of work at services (R61)."""

from __future__ import annotations

from datetime import timedelta

import pytest
import remote_support
from prometheus_client import CollectorRegistry
from remote_support import Service, poll, submit

from reconciler.api.errors import CorruptedPluginState, StoreUnavailable
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.transition import PhaseInfo, running
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.managers import Allocation
from reconciler.plugins.remote_state import read_state
from reconciler.plugins.state import PluginStateManager
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = pytest.mark.rule("R61")


def lab_of_one_gpu() -> Lab:
    """Return a lab with one unit of a quota, and a plugin that runs for ever once it has it."""

    def handle(ctx: TaskExecutionContext) -> PhaseInfo:
        answer = ctx.allocate("gpu")
        return running(0) if answer.allocation is Allocation.GRANTED else ctx.wait_for("gpu", answer)

    return Lab([ScriptedPlugin("holder", handle, finalizes=False)], quotas=("gpu=1",))


def test_quotas_are_counted(numbers: CollectorRegistry) -> None:
    """Grants, refusals, what was given back, and how long who was refused stood in line."""
    lab = lab_of_one_gpu()
    first, second = lab.submit("holder"), lab.submit("holder")
    lab.step()
    lab.clock.advance(20_000)
    lab.client.abort(first)
    lab.settle(limit=timedelta(0))
    assert lab.get(second).phase is ActionPhase.RUNNING
    lab.client.abort(second)
    lab.settle()
    value = numbers.get_sample_value
    assert value("reconciler_allocation_grant_success_total") == 2
    assert (value("reconciler_allocation_grant_failed_total") or 0) >= 1
    assert value("reconciler_resource_wait_time_seconds_count") == 2
    assert value("reconciler_resource_wait_time_seconds_sum") == 20.0
    assert value("reconciler_resource_release_success_total") == 2
    assert value("reconciler_resource_release_failed_total") == 0


def test_units_left_to_expire_are_counted(
    numbers: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the store is away while units are given back, that is told."""
    lab = lab_of_one_gpu()
    action = lab.submit("holder")
    lab.step()

    def away(*_: object) -> None:
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr(lab.reconciler.resource_manager, "release", away)
    lab.client.abort(action)
    lab.settle()
    assert numbers.get_sample_value("reconciler_resource_release_failed_total") == 1


def test_looks_at_services_are_counted(numbers: CollectorRegistry) -> None:
    """Each look by the phase the service said; each state that was decoded, and those that could not be."""
    lab = remote_support.lab_of(Service())
    action = submit(lab)
    lab.step()
    poll(lab, action)
    with pytest.raises(CorruptedPluginState):
        read_state(PluginStateManager(b"[1", 1))
    value = numbers.get_sample_value
    label = PluginPhase.RUNNING.label
    assert (value("reconciler_connector_get_task_phase_total", {"phase": label}) or 0) >= 1
    assert (value("reconciler_unmarshal_state_success_milliseconds_count") or 0) >= 1
    assert value("reconciler_unmarshal_state_failed_total") == 1

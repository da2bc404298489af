"""Remote plugins: configuration, quotas and keys (R72, R70, R71)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from plugin_support import context, record, services
from remote_support import TASK_TYPE, Query, Service, Warehouse, due_in, poll, state_of, submit

from reconciler.api.action import ActionId
from reconciler.api.errors import CorruptedPluginState, InvalidSettings
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.transition import success
from reconciler.plugins.base import PluginProperties
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.managers import Constraints
from reconciler.plugins.remote import Created
from reconciler.plugins.remote_state import (
    RemoteConfig,
    RemotePhase,
    ReturnedUnknown,
    remote_phase,
    write_meta,
)
from reconciler.plugins.state import PluginStateManager
from reconciler.testing import Lab

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.mark.rule("R72")
def test_defaults_are_flytes() -> None:
    """A look every 30 seconds, and 5 failed ones in a row are borne."""
    assert RemoteConfig() == RemoteConfig(resync_interval=30 * SECOND, max_sync_failures=5)
    assert RemoteConfig(resync_interval=5 * SECOND).resync == 5000
    assert RemoteConfig(resync_interval=HOUR, max_sync_failures=0).resync == 3_600_000


@pytest.mark.rule("R72")
@pytest.mark.parametrize(
    ("values", "problems"),
    [
        ({"resync_interval": 4.999 * SECOND}, ["resync_interval must be from 5 seconds to 1 hour, got 0:00:04.999000"]),
        ({"resync_interval": HOUR + SECOND}, ["resync_interval must be from 5 seconds to 1 hour, got 1:00:01"]),
        ({"max_sync_failures": -1}, ["max_sync_failures must not be negative, got -1"]),
        (
            {"resync_interval": 0 * SECOND, "max_sync_failures": -2},
            [
                "resync_interval must be from 5 seconds to 1 hour, got 0:00:00",
                "max_sync_failures must not be negative, got -2",
            ],
        ),
    ],
)  # fmt: skip
def test_all_that_is_out_of_range_is_listed(values: dict[str, Any], problems: list[str]) -> None:
    """A wrong configuration cannot be made, and the error names every value, not only the first."""
    with pytest.raises(InvalidSettings) as caught:
        RemoteConfig(**values)
    assert caught.value.problems == problems


@pytest.mark.rule("R72")
@pytest.mark.parametrize("phase", list(PluginPhase))
def test_each_phase_is_remembered_as_the_table_says(phase: PluginPhase) -> None:
    """Nothing yet, created, succeeded, failed; the engine's own phases are refused."""
    expected = {
        PluginPhase.UNDEFINED: RemotePhase.NOT_STARTED,
        PluginPhase.NOT_READY: RemotePhase.NOT_STARTED,
        PluginPhase.SUCCESS: RemotePhase.SUCCEEDED,
        PluginPhase.RETRYABLE_FAILURE: RemotePhase.USER_FAILURE,
        PluginPhase.PERMANENT_FAILURE: RemotePhase.USER_FAILURE,
    }
    if phase in {PluginPhase.WAITING_FOR_CACHE, PluginPhase.ABORTED}:
        with pytest.raises(ReturnedUnknown, match=phase.label):
            remote_phase(phase)
    else:
        assert remote_phase(phase) is expected.get(phase, RemotePhase.RESOURCES_CREATED)


def test_a_meta_that_is_no_json_is_told() -> None:
    """A meta that cannot be stored ends the action, instead of launching for ever."""
    with pytest.raises(CorruptedPluginState, match="resource meta cannot be written"):
        write_meta(object())


# -- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_belongs_to_one_launch() -> None:
    """The same launch has the same key; another attempt, launch, action or project, or a later life, has another one."""
    base = record()
    others = [record(run_name="rabc123") for _ in range(4)]
    others[0].set_status(attempts=2)
    others[1].set_status(launches=1)
    others[2].id = ActionId("other", "dev", "rabc123", "train")
    others[3].set_metadata(creation_timestamp=1)
    key = Warehouse.key
    keys = {key(context(action)) for action in (base, *others)}
    assert len(keys) == 5
    assert key(context(record())) == key(context(base))
    assert all(len(each) == 32 for each in keys)


def test_handles_may_wait_for_the_service() -> None:
    """Remote plugins run in the handle threads."""
    assert Warehouse.properties == PluginProperties(inline=False)


@pytest.mark.rule("R71")
def test_secrets_are_resolved_per_call_and_never_stored() -> None:
    """A plugin that resolves its secret in each call has none in its state, and finds a new one at once."""

    class Passwords:
        now = "first"

        def get(self, key: str, *, group: str = "", project: str = "", domain: str = "") -> str:
            return f"{self.now} {project}/{domain} {group}{key}"

    class Private(Warehouse):
        def create(self, ctx: TaskExecutionContext) -> Created[Query, Any]:
            self.service.note("login", ctx.secret("dsn"))
            return super().create(ctx)

    passwords, service = Passwords(), Service()
    given = services(secret_manager=passwords)
    for now in ("first", "second"):
        passwords.now = now
        ctx = TaskExecutionContext(record(), given, PluginStateManager())
        Private(service).handle(ctx)
        assert b"first" not in ctx.state.new_state()[0]
    logins = [call for call in service.calls if call.startswith("login")]
    assert logins == ["login first proj/dev dsn", "login second proj/dev dsn"]


# -- quotas (R70) ----------------------------------------------------------------------------------------------


def limited(quota: int, caps: Constraints | None = None) -> tuple[Lab, Service]:
    """Return an installation with a service of so many slots."""
    service = Service()
    plugin = Warehouse(service, quota="slots")
    plugin.caps = caps or plugin.caps
    lab = Lab([plugin.entry])
    lab.quotas.register_quota("slots", quota)
    return lab, service


@pytest.mark.rule("R70")
def test_a_grant_comes_a_round_before_the_launch() -> None:
    """The granted unit is stored first: Queued, version 0, "Allocation token required"; then the launch."""
    lab, service = limited(1)
    action = submit(lab)
    lab.reconcile(action)
    status = lab.get(action).status
    assert (status.plugin_phase, status.plugin_phase_version) == ("PhaseQueued", 0)
    assert lab.events(action)[-1].cluster_events[0].message == "Allocation token required"
    assert state_of(lab, action).phase is RemotePhase.ALLOCATION_TOKEN_ACQUIRED
    assert service.calls == []
    poll(lab, action)
    assert service.calls == ["create 1"]


@pytest.mark.rule("R70")
@pytest.mark.rule("R70")
@pytest.mark.parametrize(
    ("quota", "caps"), [(1, None), (9, Constraints(project_scope=1))], ids=["quota", "cap"]
)
def test_who_gets_no_unit_waits_until_one_is_free(quota: int, caps: Constraints | None) -> None:
    """Used-up quota and used-up cap of a project are waited for alike; the end of the first action wakes the second."""
    lab, service = limited(quota, caps)
    first, second = submit(lab), submit(lab)
    lab.reconcile(first)
    lab.reconcile(second)
    status = lab.get(second).status
    assert (status.plugin_phase, status.plugin_phase_version) == ("PhaseWaitingForResources", 0)
    assert status.conditions[0].message == "Quota for task has exceeded. Waiting for the resource."
    assert state_of(lab, second).phase is RemotePhase.NOT_STARTED
    assert due_in(lab, second) >= lab.quotas.lease
    began = lab.clock()
    service.says = success()
    lab.settle()
    assert [lab.get(action).phase for action in (first, second)] == [ActionPhase.SUCCEEDED] * 2
    assert service.calls == ["create 1", "get 1", "create 2", "get 2"]
    assert lab.clock() == began


@pytest.mark.rule("R72")
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_an_abort_gives_the_unit_back(rounds: int) -> None:
    """Whether it only has the unit, was launched or runs: an aborted action leaves its unit to the next one."""
    lab, service = limited(1)
    first = submit(lab)
    for _ in range(rounds):
        poll(lab, first)
    second = submit(lab)
    lab.reconcile(second)
    lab.client.abort(first, "enough")
    lab.step()
    lab.step()
    assert lab.get(first).phase is ActionPhase.ABORTED
    assert state_of(lab, second).phase is not RemotePhase.NOT_STARTED
    assert service.calls.count(f"delete {1 if rounds > 1 else None} enough") == 1


@pytest.mark.rule("R72")
def test_who_waits_for_a_unit_can_be_aborted() -> None:
    """An abort in line ends the action and leaves the line."""
    lab, _ = limited(1)
    first, second = submit(lab), submit(lab)
    lab.reconcile(first)
    lab.reconcile(second)
    lab.client.abort(second)
    lab.step()
    assert lab.get(second).phase is ActionPhase.ABORTED
    assert lab.get(second).status.quota_leases == ()


def test_a_launch_keeps_its_unit_when_it_is_created_again() -> None:
    """A create that failed is called again with the unit it holds, without another wait."""
    lab, service = limited(1)
    service.errors["create"] = [TimeoutError("no answer")]
    service.says = success()
    action = submit(lab)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert [str(event.phase) for event in lab.events(action)].count("waiting_for_resources") == 0


def test_the_state_is_one_small_document() -> None:
    """What is stored: phase, meta and the number of failed looks, and nothing of the resource."""
    service = Service()
    lab = Lab([Warehouse(service).entry])
    action = submit(lab)
    lab.reconcile(action)
    poll(lab, action)
    service.errors["get"] = [TimeoutError("no answer")]
    poll(lab, action)
    stored = msgspec.json.decode(lab.get(action).status.plugin_state)
    assert stored == {"phase": "ResourcesCreated", "meta": {"number": 1}, "sync_failures": 1}
    assert lab.get(action).spec.task_type == TASK_TYPE

"""Every attribute and method of the reconciler exists under its name and does what is said (R1)."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from control_support import (
    CACHED,
    FULL,
    REQUEUE,
    TYPE,
    SmallCatalog,
    lab_of,
    outputs,
    record,
    retries,
    stored,
)

from reconciler.api.action import DONE, FINALIZER, Deletion
from reconciler.api.errors import ReconcilerError
from reconciler.api.event import AuditEntry
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.template import Identifier, Interface, TaskTemplate, encode_template
from reconciler.api.transition import (
    UNKNOWN_TRANSITION,
    CacheStatus,
    ErrorKind,
    ExecutionError,
    LogLink,
    ReasonInfo,
    TaskInfo,
    Transition,
    failed,
    retryable_failure,
    running,
    success,
)
from reconciler.controller import attempts
from reconciler.controller.reconciler import TaskActionReconciler
from reconciler.controller.round import round_on
from reconciler.plugins.managers import NoopResourceManager, NoopSecretManager
from reconciler.settings import Settings
from reconciler.stores.catalog import CatalogExists
from reconciler.stores.scheme import Scheme

ATTRIBUTES = [
    "scheme",
    "recorder",
    "plugin_registry",
    "data_store",
    "secret_manager",
    "resource_manager",
    "catalog_client",
    "catalog",
    "max_system_failures",
]
METHODS = {
    "evaluate_cache_before_execution": ["task_action", "t_ctx", "already_running"],
    "finalize_cache_after_execution": ["task_action", "t_ctx", "transition", "cache_short_circuited"],
    "write_task_outputs_to_cache": ["t_ctx", "key"],
    "release_cache_reservation": ["cache_cfg"],
    "reset_plugin_resource": ["task_action", "p", "t_ctx"],
    "record_system_error": ["task_action", "original", "plugin_id", "handle_err"],
    "finalize_permanent_failure": ["task_action", "original", "exec_err"],
    "reconcile": ["req"],
    "ensure_terminal_labels": ["task_action"],
    "handle_abort_and_finalize": ["task_action"],
    "remove_finalizer": ["task_action"],
    "update_task_action_status": ["old_task_action", "new_task_action", "phase_info"],
    "build_action_event": ["task_action", "phase_info"],
    "setup_with_manager": ["mgr", "max_concurrent_reconciles"],
}
CACHED_SPEC = msgspec.structs.replace(
    FULL,
    task_template=encode_template(
        TaskTemplate(
            id=Identifier(project="default", domain="development", name=TYPE),
            type=TYPE,
            metadata=CACHED,
            interface=Interface(),
        )
    ),
)


class Manager:
    """Notes what is registered."""

    def __init__(self, refuse: bool = False) -> None:  # noqa: FBT001, FBT002  # one switch
        self.registered: list[tuple[str, Any, int]] = []
        self.refuse = refuse

    def register(self, name: str, reconciler: TaskActionReconciler, max_concurrent_reconciles: int) -> None:
        """Take it, or refuse."""
        if self.refuse:
            raise ReconcilerError("the queue cannot be declared")
        self.registered.append((name, reconciler, max_concurrent_reconciles))


# -- shape -----------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R1")
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_exist(name: str) -> None:
    """The nine attributes are there, and the constructor takes all but the positional ones by keyword."""
    assert hasattr(lab_of(running(0)).reconciler, name)
    assert name in inspect.signature(TaskActionReconciler.__init__).parameters


@pytest.mark.rule("R1")
@pytest.mark.parametrize("name", METHODS)
def test_methods_exist(name: str) -> None:
    """Each method takes the named arguments in their order, whatever options follow."""
    parameters = list(inspect.signature(getattr(TaskActionReconciler, name)).parameters)[1:]
    assert parameters[: len(METHODS[name])] == METHODS[name]


# -- attributes ------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R1", "R8")
def test_max_system_failures_can_be_set_later() -> None:
    """A plain number set on a built reconciler is the attribute, and calling it still gives the value in force."""
    mine = lab_of(running(0)).reconciler
    mine.max_system_failures = 0
    assert (mine.max_system_failures, mine.max_system_failures()) == (0, 3)


@pytest.mark.rule("R1")
def test_the_defaults_of_the_attributes() -> None:
    """Without anything given: no recorder, no catalog, managers that hold nothing, the current scheme."""
    lab = lab_of(running(0))
    plain = TaskActionReconciler(lab.store, lab.reconciler.plugin_registry, lab.blobs)
    assert plain.recorder is None
    assert plain.catalog is None
    assert plain.catalog_client is None
    assert isinstance(plain.secret_manager, NoopSecretManager)
    assert isinstance(plain.resource_manager, NoopResourceManager)
    assert plain.scheme == Scheme()


@pytest.mark.rule("R1")
def test_given_attributes_reach_the_plugins() -> None:
    """Secrets, quotas, objects and the asynchronous catalog are handed to contexts as they were given."""
    lab = lab_of(running(0))
    secrets, quotas, client = NoopSecretManager(), NoopResourceManager(), object()
    mine = TaskActionReconciler(
        lab.store,
        lab.reconciler.plugin_registry,
        lab.blobs,
        secret_manager=secrets,
        resource_manager=quotas,
        catalog_client=client,
    )
    action = stored(lab)
    mine.reconcile(action)
    services = lab.plugin.handled[0].services  # type: ignore[attr-defined]  # see lab_of
    assert (services.secret_manager, services.resource_manager) == (secrets, quotas)
    assert (services.catalog_client, services.data_store) == (client, lab.blobs)


@pytest.mark.rule("R1")
def test_fields_of_newer_releases_survive_a_round() -> None:
    """A field of the status this release does not know is written back untouched."""
    lab = lab_of(running(0))
    action = stored(lab)
    lab.reconcile(action)
    later = {"status": {"inventedLater": {"a": 1}}}
    lab.store.shard(action).records[str(action)].unknown = later
    lab.plugin.answers = [running(9)]  # type: ignore[attr-defined]  # see lab_of
    lab.reconcile(action)
    assert lab.get(action).status.plugin_phase_version == 9
    assert msgspec.json.decode(msgspec.json.encode(lab.get(action).unknown)) == later


@pytest.mark.rule("R1", "R8")
@pytest.mark.parametrize(("configured", "effective"), [(0, 3), (1, 1), (7, 7)])
def test_max_system_failures(configured: int, effective: int) -> None:
    """The attribute is what was configured; called, it is what is in force: 3 for 0."""
    lab = lab_of(running(0))
    mine = TaskActionReconciler(
        lab.store, lab.reconciler.plugin_registry, lab.blobs, max_system_failures=configured
    )
    assert (mine.max_system_failures, mine.max_system_failures()) == (configured, effective)


@pytest.mark.rule("R8")
@pytest.mark.parametrize(("configured", "effective"), [(0, REQUEUE), (2.5, 2500)])
def test_requeue_duration(configured: float, effective: int) -> None:
    """The requeue duration is 10 s when it is not positive."""
    lab = lab_of(running(0), settings={"requeue_duration": timedelta(seconds=configured)})
    assert lab.reconciler.requeue_duration == effective


@pytest.mark.rule("R1")
def test_the_recorder_gets_warnings() -> None:
    """Audit entries name the action and the time of the round."""
    kept: list[AuditEntry] = []

    class Recorder:
        def event(self, entry: AuditEntry) -> None:
            kept.append(entry)

    lab = lab_of(ValueError("x"))
    lab.reconciler.recorder = Recorder()
    action = lab.submit(TYPE)
    lab.reconcile(action)
    (entry,) = kept
    assert (entry.id, entry.type, entry.at) == (action, "Warning", lab.clock())


# -- set-up ----------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R1")
def test_setup_registers_under_its_name() -> None:
    """The reconciler registers as `taskaction`, by default for 512 reconciles at once."""
    lab, manager = lab_of(running(0)), Manager()
    lab.reconciler.setup_with_manager(manager)
    lab.reconciler.setup_with_manager(manager, 7)
    assert manager.registered == [("taskaction", lab.reconciler, 512), ("taskaction", lab.reconciler, 7)]


@pytest.mark.rule("R1")
def test_a_refusing_manager_is_an_error() -> None:
    """A registration that fails is returned."""
    with pytest.raises(ReconcilerError, match="cannot be declared"):
        lab_of(running(0)).reconciler.setup_with_manager(Manager(refuse=True))


@pytest.mark.rule("R2")
@pytest.mark.parametrize(
    ("settings", "limit", "concurrent", "words"),
    [
        ({}, -1, 1, "maxSystemFailures must be non-negative, got -1"),
        ({"max_system_failures": -2}, None, 1, "maxSystemFailures must be non-negative, got -2"),
        (
            {"requeue_duration": timedelta(seconds=-1)},
            None,
            1,
            "requeueDuration must not be negative, got -1s",
        ),
        ({}, None, 0, "maxConcurrentReconciles must be at least 1, got 0"),
    ],
)
def test_setup_refuses_what_is_not_allowed(settings: Any, limit: Any, concurrent: int, words: str) -> None:
    """Negative limits and no concurrency stop the start, before anything is registered."""
    lab, manager = lab_of(running(0)), Manager()
    mine = TaskActionReconciler(
        lab.store,
        lab.reconciler.plugin_registry,
        lab.blobs,
        settings=Settings(**settings),
        max_system_failures=limit,
    )
    with pytest.raises(ReconcilerError, match=words):
        mine.setup_with_manager(manager, concurrent)
    assert manager.registered == []


# -- methods called directly on a record -----------------------------------------------------------------------------
@pytest.mark.rule("R1")
def test_reconcile_moves_one_action_one_step() -> None:
    """One call is one claimed, committed round of the named action and of no other."""
    lab = lab_of(running(0))
    action, other = lab.submit(TYPE), lab.submit(TYPE)
    assert lab.reconciler.reconcile(action).woken
    assert lab.get(action).phase is ActionPhase.RUNNING
    assert lab.get(other).token == 0


@pytest.mark.rule("R1")
def test_reconcile_leaves_a_held_action_alone() -> None:
    """An action another step holds is done for this caller, and due again for whoever comes after that step."""
    lab = lab_of(running(0))
    action = stored(lab)
    lab.store.claim(lab.store.shard_of(action.run_id), owner="other", limit=0, named=[action])
    assert lab.reconciler.reconcile(action) == DONE
    assert lab.journal.words == []


@pytest.mark.rule("R1")
def test_reset_plugin_resource_persists_nothing() -> None:
    """Abort is called, state and version are emptied in memory; phase, attempts, conditions and the store stay."""
    lab = lab_of(running(4))
    action = stored(lab)
    lab.reconcile(action)
    found = lab.get(action)
    found.set_status(plugin_state=b"{}", plugin_state_version=3)
    before = found.status
    ctx = lab.reconciler.context(found, lab.plugin)  # type: ignore[attr-defined]  # see lab_of
    version = lab.get(action).version
    assert lab.reconciler.reset_plugin_resource(found, lab.plugin, ctx) == 0  # type: ignore[attr-defined]  # see lab_of
    status = found.status
    assert (status.plugin_state, status.plugin_state_version) == (b"", 0)
    assert (status.plugin_phase, status.plugin_phase_version) == ("PhaseRunning", 4)
    assert (status.attempts, status.conditions) == (before.attempts, before.conditions)
    assert lab.plugin.aborted == [ctx]  # type: ignore[attr-defined]  # see lab_of
    assert lab.get(action).version == version


@pytest.mark.rule("R1")
def test_record_system_error_on_a_record() -> None:
    """Called directly it stores the count, publishes nothing, and says when to look again."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    result = lab.reconciler.record_system_error(found, found.copy(), TYPE, ValueError("x"))
    assert result.requeue_after == REQUEUE
    assert lab.get(found.id).status.system_failures == 1
    assert len(lab.events(found.id)) == 1


@pytest.mark.rule("R1")
def test_record_system_error_takes_a_time() -> None:
    """A given time wins over the back-off."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    at = lab.clock() + 300
    result = lab.reconciler.record_system_error(found, found.copy(), TYPE, ValueError("x"), retry_at=at)
    assert result.requeue_after == 300


@pytest.mark.rule("R1")
def test_the_failure_past_the_budget_ends_a_record() -> None:
    """Called directly with the budget used up, the action ends in the same call."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    found.set_status(system_failures=3)
    assert lab.reconciler.record_system_error(found, found.copy(), TYPE, ValueError("x")) == DONE
    assert lab.get(found.id).phase is ActionPhase.FAILED


@pytest.mark.rule("R1")
def test_retry_on_a_record_publishes_both_events() -> None:
    """A failed attempt alone publishes FAILED, then QUEUED of the next one, in one write."""
    lab = lab_of(running(0))
    spec = msgspec.structs.replace(
        FULL, task_template=encode_template(TaskTemplate(type=TYPE, metadata=retries(1)))
    )
    found = lab.get(stored(lab, spec))
    with round_on(lab.reconciler, found) as round:
        round.plugin = lab.plugin  # type: ignore[attr-defined]  # see lab_of
        round.open_context()
        assert attempts.fail(round, retryable_failure("E", "x")).woken
    assert [(str(e.phase), e.attempt) for e in lab.events(found.id)][1:] == [("failed", 1), ("queued", 2)]


@pytest.mark.rule("R1")
def test_handle_abort_and_finalize_on_a_record() -> None:
    """Called directly it cleans up, publishes ABORTED and removes the finalizer."""
    lab = lab_of(running(0))
    action = stored(lab)
    lab.reconcile(action)
    found = lab.get(action)
    found.set_metadata(deletion=Deletion(at=lab.clock(), reason="r", actor="a"))
    assert lab.reconciler.handle_abort_and_finalize(found) == DONE
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert FINALIZER not in lab.get(action).metadata.finalizers


@pytest.mark.rule("R56")
def test_build_action_event_is_pure() -> None:
    """It says what the status, the phase and the clock say, and changes neither record nor store."""
    lab = lab_of(running(0), settings={"cluster": "blue"})
    action = stored(lab)
    lab.reconcile(action)
    found = lab.get(action)
    info = failed(
        PluginPhase.PERMANENT_FAILURE,
        ExecutionError("C", "m", ErrorKind.SYSTEM),
        TaskInfo(
            logs=(LogLink("log", "s3://b/log"),),
            log_context={"pod": "p"},
            occurred_at=5,
            additional_reasons=(ReasonInfo("extra", 6), ReasonInfo("later")),
        ),
    ).with_reason("why")
    before = (found.status, found.metadata, lab.get(action).version)
    lab.clock.advance(1000)
    event = lab.reconciler.build_action_event(found, info)
    assert (found.status, found.metadata, lab.get(action).version) == before
    assert (event.id, event.attempt, event.phase, event.cluster) == (action, 1, ActionPhase.FAILED, "blue")
    assert (event.updated_time, event.reported_time) == (lab.clock() - 1000, lab.clock())
    assert event.error_info is not None
    assert (event.error_info.message, event.error_info.kind, event.error_info.code) == (
        "m",
        "KIND_SYSTEM",
        "C",
    )
    assert event.outputs is not None
    assert event.outputs.output_uri.endswith("/a0/1/outputs.pb")
    assert event.outputs.report_uri.endswith("/a0/1/report.html")
    assert [(e.message, e.occurred_at) for e in event.cluster_events] == [
        ("why", 5),
        ("extra", 6),
        ("later", event.updated_time),
    ]
    assert (event.log_info, event.log_context) == (info.info.logs, {"pod": "p"})  # type: ignore[union-attr]  # given above
    assert event.cache_status is CacheStatus.DISABLED


@pytest.mark.rule("R56")
def test_an_event_of_an_empty_status() -> None:
    """Attempt 0 is told as 1, no history as now; an output base nobody can read gives no outputs."""
    lab = lab_of(running(0))
    found = record(msgspec.structs.replace(FULL, run_output_base=""))
    event = lab.reconciler.build_action_event(
        found, msgspec.structs.replace(running(0), info=None, reason="r")
    )
    assert (event.attempt, event.updated_time, event.outputs) == (1, lab.clock(), None)
    assert [(e.message, e.occurred_at) for e in event.cluster_events] == [("r", lab.clock())]


# -- the cache methods -----------------------------------------------------------------------------------------------
@pytest.mark.rule("R1")
def test_without_a_catalog_tasks_just_run() -> None:
    """No catalog disables caching: nothing is short-circuited, changed, released or refused."""
    lab = lab_of(running(0))
    found = record(CACHED_SPEC)
    ctx = lab.reconciler.context(found, lab.plugin)  # type: ignore[attr-defined]  # see lab_of
    assert lab.reconciler.evaluate_cache_before_execution(found, ctx) == (UNKNOWN_TRANSITION, False)
    answer = Transition(success())
    assert lab.reconciler.finalize_cache_after_execution(found, ctx, answer, False) is answer
    lab.reconciler.release_cache_reservation(None)


@pytest.mark.rule("R1")
def test_the_cache_methods_on_a_record() -> None:
    """Reserve, put with a status for the event, release; then the key is a hit that replaces the plugin."""
    catalog = SmallCatalog()
    lab = lab_of(running(0), catalog=catalog)
    found = record(CACHED_SPEC, now=lab.clock())
    ctx = lab.reconciler.context(found, lab.plugin)  # type: ignore[attr-defined]  # see lab_of
    transition, short = lab.reconciler.evaluate_cache_before_execution(found, ctx, False)
    assert (transition, short) == (UNKNOWN_TRANSITION, False)
    assert catalog.owner.startswith("flyte/")
    done = lab.reconciler.finalize_cache_after_execution(found, ctx, Transition(outputs(ctx)), False)
    assert done.info.info is not None
    assert [r.cache_status for r in done.info.info.external_resources if r] == [CacheStatus.POPULATED]
    assert catalog.owner == ""
    hit, short = lab.reconciler.evaluate_cache_before_execution(found, ctx, False)
    assert (hit.info.phase, short) == (PluginPhase.SUCCESS, True)


@pytest.mark.rule("R1")
def test_write_task_outputs_to_cache_returns_the_catalogs_error() -> None:
    """The caller recognises "already exists" by the error the catalog raised."""
    catalog = SmallCatalog()
    lab = lab_of(running(0), catalog=catalog)
    found = record(CACHED_SPEC, now=lab.clock())
    ctx = lab.reconciler.context(found, lab.plugin)  # type: ignore[attr-defined]  # see lab_of
    ctx.files.write_outputs(b"{}")
    config = lab.reconciler.cache_config(found)
    assert config is not None
    catalog.fail["put"] = CatalogExists("filled")
    with pytest.raises(CatalogExists):
        lab.reconciler.write_task_outputs_to_cache(ctx, config.key)
    del catalog.fail["put"]
    lab.reconciler.write_task_outputs_to_cache(ctx, config.key)
    assert catalog.entries[config.key].source.action == "a0"


@pytest.mark.rule("R1")
@pytest.mark.parametrize(("serializable", "owner"), [(True, ""), (False, "me")])
def test_release_cache_reservation(serializable: bool, owner: str) -> None:  # noqa: FBT001  # a table
    """Only a serializable task's reservation is released, by key and owner."""
    catalog = SmallCatalog(owner="me")
    lab = lab_of(running(0), catalog=catalog)
    config = lab.reconciler.cache_config(record(CACHED_SPEC))
    assert config is not None
    lab.reconciler.release_cache_reservation(
        msgspec.structs.replace(config, owner="me", serializable=serializable)
    )
    assert catalog.owner == owner


@pytest.mark.parametrize("name", ["secret_manager", "resource_manager", "data_store", "catalog_client"])
def test_plugins_are_handed_the_attributes_as_they_are(name: str) -> None:
    """An attribute that is set anew is what the next context holds."""
    lab = lab_of(running(0))
    fresh = object()
    setattr(lab.reconciler, name, fresh)
    assert getattr(lab.reconciler.services, name) is fresh

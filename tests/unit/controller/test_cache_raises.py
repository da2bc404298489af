"""A catalog or a resource manager that raises anything at all fails no succeeded task and keeps nothing from ending."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cache_lab import FAR, CacheLab, returning
from control_support import TYPE, lab_of

from reconciler.api.action import ActionSpec
from reconciler.api.errors import InvalidInput, StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.remembered import Remembered
from reconciler.api.template import Interface, TaskMetadata, TaskTemplate, encode_template
from reconciler.api.transition import (
    CacheStatus,
    OutputRef,
    PhaseInfo,
    Transition,
    failure,
    running,
    success,
)
from reconciler.controller.round import Round
from reconciler.core.cachekey import CacheConfigError
from reconciler.plugins.context import TaskExecutionContext
from reconciler.stores.catalog import CatalogExists

ANYTHING = [
    ValueError("no"),
    KeyError("x"),
    OSError("away"),
    StoreUnavailable("down"),
    AttributeError("None"),
]


@pytest.mark.rule("R45")
@pytest.mark.parametrize("error", ANYTHING, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("verb", ["get", "put", "release"])
@pytest.mark.parametrize("serializable", [True, False])
def test_no_error_of_the_catalog_fails_a_success(error: Exception, verb: str, serializable: bool) -> None:  # noqa: FBT001  # a table
    """The task has succeeded, whatever looking up, storing or giving back raises; no budget is spent."""
    lab = CacheLab()
    lab.shelf.broken = {verb: error}
    action = lab.call(serializable=serializable)
    lab.settle(timedelta(hours=1))
    status = lab.get(action).status
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert status.total_system_failures == 0
    expected = {"put": CacheStatus.PUT_FAILURE}.get(verb, CacheStatus.POPULATED)
    assert status.cache_status in {expected, CacheStatus.LOOKUP_FAILURE}


@pytest.mark.rule("R45")
@pytest.mark.parametrize("error", ANYTHING, ids=lambda e: type(e).__name__)
def test_no_error_of_the_catalog_keeps_a_failure_or_an_abort(error: Exception) -> None:
    """A failed or aborted action ends in time with everything of its catalog broken."""
    lab = CacheLab(lambda ctx: running(0) if b"1" in ctx.read_inputs() else failure("E", "x"))
    failed, aborted = lab.call(2, serializable=True), lab.call(1, serializable=True)
    lab.step()
    lab.shelf.broken = dict.fromkeys(("get", "put", "release", "reserve"), error)
    lab.client.abort(aborted, "enough", "ann")
    lab.settle(timedelta(minutes=1))
    assert lab.get(aborted).phase is ActionPhase.ABORTED
    assert lab.get(failed).phase is ActionPhase.FAILED


@pytest.mark.rule("R45")
def test_a_put_that_loses_to_a_catalog_that_then_breaks_is_no_failure() -> None:
    """Nobody can say whether the entry that stands is good: it stands."""
    lab = CacheLab()

    def put(*_: Any, **__: Any) -> tuple[str, ...]:
        lab.shelf.broken = {"get": TypeError("not today")}
        raise CatalogExists("it was filled before")

    lab.shelf.put = put  # type: ignore[method-assign]  # a catalog of somebody else
    action = lab.call()
    lab.settle()
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


@pytest.mark.rule("R46")
@pytest.mark.parametrize("owners", [None, [1], ["x"], "flyte/a/b/c/d"])
def test_whatever_a_catalog_names_as_waiting_fails_nothing(owners: Any) -> None:
    """Owners that are none are nobody's to wake."""
    lab = CacheLab()
    lab.shelf.put = lambda *_, **__: owners  # type: ignore[method-assign]  # a catalog of somebody else
    action = lab.call()
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


@pytest.mark.rule("R45")
@pytest.mark.parametrize("how", ["success", "failure"])
def test_inputs_that_are_gone_after_the_task_ran_undo_no_end(how: str) -> None:
    """The key cannot be made any more: a success is not published, and a failure ends as one."""

    def answer(ctx: TaskExecutionContext) -> PhaseInfo:
        if not ctx.action.status.launched:
            return running(0)
        lab.blobs.delete_prefix(FAR)
        lab.reconciler.cache_keys = Remembered(1024 * 1024)  # as in another process
        return returning()(ctx) if how == "success" else failure("E", "x")  # type: ignore[return-value]  # a PhaseInfo

    lab = CacheLab(answer)
    action = lab.call_by_reference(serializable=True)
    lab.step()
    lab.settle(timedelta(hours=1))
    found = lab.get(action)
    assert found.phase is (ActionPhase.SUCCEEDED if how == "success" else ActionPhase.FAILED)
    assert found.status.total_system_failures == 0
    if how == "success":
        assert found.status.cache_status is CacheStatus.PUT_FAILURE


@pytest.mark.rule("R46")
def test_an_entry_at_a_place_nobody_knows_is_replaced() -> None:
    """Outputs at a URI no store takes are unreadable like those that are gone: a miss, and the put replaces it."""
    lab = CacheLab()
    lab.call()
    lab.settle()
    get = lab.blobs.get

    def refusing(uri: str, **limits: Any) -> bytes:
        if uri.startswith("ftp:"):
            raise InvalidInput("no place of ours")
        return get(uri, **limits)

    lab.blobs.get = refusing  # type: ignore[method-assign]  # as the store of S3 does
    lab.shelf.blobs = None
    lab.shelf.point_to(OutputRef(uri="ftp://elsewhere/outputs.pb"))
    action = lab.call()
    lab.settle()
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED
    assert lab.entry.outputs == lab.get(action).status.outputs


@pytest.mark.rule("R70")
@pytest.mark.parametrize("verb", ["release", "renew"])
@pytest.mark.parametrize("error", ANYTHING, ids=lambda e: type(e).__name__)
def test_no_error_of_a_resource_manager_keeps_an_end(verb: str, error: Exception) -> None:
    """Units nobody takes back are free when their lease ends; the action ends now."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    lab = lab_of(
        lambda ctx: (ctx.allocate("gpu"), running(0) if not ctx.action.status.launched else success())[1]
    )
    lab.reconciler.resource_manager.register_quota("gpu", 2)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    [lease] = lab.get(action).status.quota_leases
    assert (lease.resource, lease.units, lease.held) == ("gpu", 1, True)
    setattr(lab.reconciler.resource_manager, verb, fail)
    lab.settle(timedelta(hours=1))
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R70")
def test_a_renewal_an_outage_prevents_is_tried_again_while_the_action_goes_on() -> None:
    """While it runs, its units must stay its own: the round is given up and comes again."""
    lab = lab_of(lambda ctx: (ctx.allocate("gpu"), running(0))[1])
    lab.reconciler.resource_manager.register_quota("gpu", 2)
    action = lab.submit(TYPE)
    lab.reconcile(action)

    def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("down")

    lab.reconciler.resource_manager.renew = away  # type: ignore[method-assign]  # an outage
    version = lab.get(action).version
    lab.clock.advance(timedelta(seconds=30))
    lab.step(action)
    assert lab.get(action).version == version


@pytest.mark.rule("R38")
def test_a_context_that_cannot_be_built_keeps_no_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever building it raises: the action ends, and says that nothing was cleaned up."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    lab.reconcile(action)

    def fail(*_: Any) -> Any:
        raise RuntimeError("no context today")

    monkeypatch.setattr(Round, "open_context", fail)
    lab.client.abort(action, "enough", "ann")
    lab.settle()
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert "no context today" in lab.get(action).status.cleanup_error


@pytest.mark.rule("R45")
def test_cache_settings_that_cannot_be_used_are_told_after_execution_too() -> None:
    """The step after execution, asked on its own, raises what the one before it would have ended the action for."""
    lab = CacheLab(running(0))
    template = encode_template(
        TaskTemplate(type=TYPE, metadata=TaskMetadata(discoverable=True), interface=Interface())
    )
    record = lab.get(lab.run(ActionSpec(task_type=TYPE, task_template=template, inputs=b"{}")).action)
    ctx = lab.reconciler.context(record, lab.plugin)
    with pytest.raises(CacheConfigError, match="missing identifier"):
        lab.reconciler.finalize_cache_after_execution(record, ctx, Transition(success()), False)

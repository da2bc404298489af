"""What the cache does after a task ran: put and release (R45, R46, R47, R48)."""

from __future__ import annotations

import pytest
from cache_lab import FAR, OUTPUTS, CacheLab, returning

from reconciler.api.errors import StoreUnavailable
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.remembered import Remembered
from reconciler.api.transition import (
    CacheStatus,
    ExternalResource,
    OutputRef,
    PhaseInfo,
    TaskInfo,
    Transition,
    failure,
    retryable_failure,
    running,
    success,
    system_retryable_failure,
)
from reconciler.plugins.context import TaskExecutionContext
from reconciler.stores.catalog import CacheEntry, CacheSource, CatalogMiss
from reconciler.testing.crash import WritePoint

DOWN = StoreUnavailable("the catalog does not answer")


def fill_first(lab: CacheLab) -> CacheEntry:
    """Fill the key of the task, as another run does while this one works."""
    entry = CacheEntry(
        outputs=OutputRef(uri="s3://memory/other", inline=OUTPUTS), source=CacheSource(run="other")
    )
    lab.shelf.blobs = None
    get = lab.shelf.get
    asked: list[str] = []

    def late(key: object) -> CacheEntry:
        asked.append(str(key))
        if len(asked) == 1:
            lab.shelf.entries[str(key)] = entry
            raise CatalogMiss("not yet")
        return get(key)  # type: ignore[arg-type]  # handed through

    lab.shelf.get = late  # type: ignore[method-assign]  # the race
    return entry


@pytest.mark.rule("R45")
def test_a_success_fills_the_key() -> None:
    """The outputs of a success are referred to under the key, and the event says POPULATED."""
    lab = CacheLab()
    action = lab.call()
    lab.settle()
    record = lab.get(action)
    assert lab.entry.outputs == record.status.outputs
    assert lab.events(action)[-1].cache_status is CacheStatus.POPULATED
    assert record.status.cache_status is CacheStatus.POPULATED


@pytest.mark.rule("R46")
def test_an_entry_names_its_source() -> None:
    """An entry says which task, version, run, action and attempt made it, and when."""
    lab = CacheLab(retryable_failure("E", "boom"), returning())
    action = lab.call(retries=1)
    lab.settle()
    source = lab.entry.source
    assert (source.task, source.project, source.domain) == ("cached", action.project, action.domain)
    assert (source.run, source.action, source.attempt) == (action.run, "a0", 2)
    assert source.created_at == lab.get(action).status.phase_history[-1].occurred_at


@pytest.mark.rule("R46")
def test_outputs_the_plugin_did_not_mention_are_found() -> None:
    """A plugin that wrote outputs without a reference to them fills the key as well."""

    def silent(ctx: TaskExecutionContext) -> PhaseInfo:
        ctx.files.write_outputs(OUTPUTS)
        return success()

    lab = CacheLab(silent)
    lab.call()
    lab.settle()
    assert lab.blobs.get(lab.entry.outputs.uri) == OUTPUTS


@pytest.mark.rule("R45")
def test_a_success_without_outputs_is_a_failed_put() -> None:
    """A success that wrote nothing succeeds, fills nothing, and says PUT_FAILURE."""
    lab = CacheLab(success())
    action = lab.call()
    lab.settle()
    record = lab.get(action)
    assert (record.phase, record.status.cache_status) == (ActionPhase.SUCCEEDED, CacheStatus.PUT_FAILURE)
    assert not lab.shelf.entries


@pytest.mark.rule("R45")
def test_a_failing_put_fails_no_task() -> None:
    """A put that fails is shown as PUT_FAILURE; the action succeeds with its outputs."""
    lab = CacheLab()
    lab.shelf.broken["put"] = DOWN
    action = lab.call()
    lab.settle()
    assert lab.client.result(action) == 1
    assert lab.get(action).status.cache_status is CacheStatus.PUT_FAILURE


@pytest.mark.rule("R45")
def test_a_lost_put_race_is_populated() -> None:
    """A key that somebody filled in the meantime stays as it is, and the action says POPULATED."""
    lab = CacheLab()
    entry = fill_first(lab)
    action = lab.call()
    lab.settle()
    assert lab.entry == entry
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


@pytest.mark.rule("R46")
def test_an_entry_in_doubt_is_left_alone() -> None:
    """An entry that cannot be looked at when the put finds it is not overwritten."""
    lab = CacheLab()
    entry = fill_first(lab)
    put = lab.shelf.put

    def then_down(*args: object, **more: object) -> tuple[str, ...]:
        lab.shelf.broken["get"] = DOWN
        return put(*args, **more)  # type: ignore[arg-type]  # handed through

    lab.shelf.put = then_down  # type: ignore[method-assign]  # the outage begins here
    action = lab.call()
    lab.settle()
    assert lab.entry == entry
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


@pytest.mark.rule("R47")
def test_the_plugins_own_cache_status_is_shown_first() -> None:
    """A status the plugin reported itself wins over that of the put, as the first one in the list does."""

    def reporting(ctx: TaskExecutionContext) -> PhaseInfo:
        ctx.files.write_outputs(OUTPUTS)
        return success(
            TaskInfo(external_resources=(None, ExternalResource(cache_status=CacheStatus.SKIPPED)))
        )

    lab = CacheLab(reporting)
    action = lab.call()
    lab.settle()
    assert lab.get(action).status.cache_status is CacheStatus.SKIPPED


@pytest.mark.rule("R45")
def test_a_success_without_details_is_put_all_the_same() -> None:
    """A bare success phase carries no cache status but fills the key."""

    def bare(ctx: TaskExecutionContext) -> PhaseInfo:
        ctx.files.write_outputs(OUTPUTS)
        return PhaseInfo(phase=PluginPhase.SUCCESS)

    lab = CacheLab(bare)
    action = lab.call()
    lab.settle()
    assert lab.entry.source.run == action.run
    assert lab.get(action).status.cache_status is CacheStatus.DISABLED


@pytest.mark.rule("R45")
def test_a_failure_fills_nothing() -> None:
    """Only a success is put."""
    lab = CacheLab(failure("E", "boom"))
    lab.call()
    lab.settle()
    assert lab.asked("put") == 0


@pytest.mark.rule("R45")
def test_a_hit_is_not_put_again() -> None:
    """A short-circuited round changes nothing in the catalog."""
    lab = CacheLab()
    lab.call()
    lab.settle()
    lab.call()
    lab.settle()
    assert lab.asked("put") == 1


# -- release -----------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R48")
@pytest.mark.parametrize(
    "answer",
    [
        returning(),
        success(),
        failure("E", "boom"),
        retryable_failure("E", "boom"),
        PhaseInfo(phase=PluginPhase.ABORTED, reason="gone"),
        retryable_failure("BadTaskSpecification", "never"),
    ],
    ids=["success", "nothing to put", "permanent", "last attempt", "aborted", "not worth a retry"],
)
def test_every_end_releases_the_reservation(answer: object) -> None:
    """However a task ends by its plugin, its reservation is given back."""
    lab = CacheLab(answer)
    action = lab.call(serializable=True)
    lab.settle()
    assert lab.get(action).is_terminal
    assert not lab.shelf.reservations
    assert lab.get(action).status.cache_token == 0


@pytest.mark.rule("R48")
def test_the_put_comes_before_the_release() -> None:
    """The next owner can only get the reservation when the entry is there."""
    lab = CacheLab()
    lab.call(serializable=True)
    lab.settle()
    words = [w for w in lab.journal.words if w in {"cache.put", "cache.release"}]
    assert words == ["cache.put", "cache.release"]


@pytest.mark.rule("R51")
def test_a_retry_keeps_the_reservation() -> None:
    """Between two attempts of one action nobody else gets the key."""
    lab = CacheLab(retryable_failure("E", "boom"), running(0))
    action = lab.call(serializable=True, retries=1)
    lab.reconcile(action)
    assert lab.asked("release") == 0
    assert lab.shelf.reservations


@pytest.mark.rule("R51")
def test_a_relaunch_keeps_the_reservation() -> None:
    """A fault of the platform costs the reservation as little as it costs an attempt, also without retries left."""
    lab = CacheLab(system_retryable_failure("Gone", "worker lost"), returning())
    action = lab.call(serializable=True)
    lab.reconcile(action)
    assert lab.asked("release") == 0
    lab.settle()
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


@pytest.mark.rule("R45")
@pytest.mark.parametrize("last", ["catalog.put", "catalog.release_reservation"])
def test_an_entry_put_before_a_death_is_populated(last: str) -> None:
    """A worker that dies between put and commit leaves an entry; its successor says POPULATED, not PUT_FAILURE."""

    def dies(point: WritePoint) -> bool:
        return (point.verb, point.moment) == (last, "after") and not lab.deaths

    def again(ctx: TaskExecutionContext) -> PhaseInfo:
        return success(TaskInfo(outputs=ctx.files.output_ref()))

    lab = CacheLab(running(0), returning(), again, crash=dies)
    action = lab.call(serializable=True)
    lab.settle()
    assert [point.verb for point in lab.deaths] == [last]
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED
    outputs = lab.get(action).status.outputs
    assert outputs is not None
    assert lab.entry.outputs.uri == outputs.uri
    assert not lab.shelf.reservations


@pytest.mark.rule("R45")
@pytest.mark.parametrize(
    ("holder", "status", "released"),
    [("", CacheStatus.POPULATED, 1), ("somebody", CacheStatus.PUT_FAILURE, 1)],
    ids=["free", "reserved by another"],
)
def test_a_put_on_its_own_asks_for_the_reservation(holder: str, status: CacheStatus, released: int) -> None:
    """Called without an evaluation before, a serialized success is published when nobody else may publish."""
    lab = CacheLab(running(0))
    lab.reconcile(lab.call(serializable=True))  # the key is reserved from here on
    record = lab.get(lab.call(serializable=True))
    ctx = lab.reconciler.context(record, lab.plugin)
    done = Transition(returning()(ctx))
    if holder:
        lab.shelf.steal(holder)
    else:
        lab.shelf.reservations.clear()
    found = lab.reconciler.finalize_cache_after_execution(
        record, ctx, done, False
    ).info.info  # as in the reference
    assert found is not None
    assert [resource.cache_status for resource in found.external_resources if resource] == [status]
    assert bool(lab.shelf.entries) is not bool(holder)
    assert lab.asked("release") == released


@pytest.mark.rule("R45")
def test_a_put_on_its_own_that_cannot_ask_is_a_failed_put() -> None:
    """Without an answer about the reservation nothing is published, and the task succeeds all the same."""
    lab = CacheLab(running(0))
    record = lab.get(lab.call(serializable=True))
    ctx = lab.reconciler.context(record, lab.plugin)
    lab.shelf.broken["reserve"] = DOWN
    done = Transition(returning()(ctx))
    found = lab.reconciler.finalize_cache_after_execution(
        record, ctx, done, False
    ).info  # as in the reference
    assert found.info is not None
    assert [resource.cache_status for resource in found.info.external_resources if resource] == [
        CacheStatus.PUT_FAILURE
    ]
    assert found.phase is PluginPhase.SUCCESS
    assert not lab.shelf.entries


@pytest.mark.rule("R45")
def test_a_success_without_its_reservation_is_a_failed_put() -> None:
    """What was made without the reservation is not published, and another one's entry is not taken for its own."""
    lab = CacheLab(running(0), returning())
    action = lab.call(serializable=True)
    lab.reconcile(action)
    lab.shelf.fill(OutputRef(uri="s3://memory/other", inline=OUTPUTS))
    lab.shelf.steal()
    lab.settle()
    assert lab.get(action).status.cache_status is CacheStatus.PUT_FAILURE
    assert lab.entry.outputs.uri == "s3://memory/other"


@pytest.mark.rule("R51")
def test_an_exhausted_system_budget_releases() -> None:
    """An action that ends because its plugin keeps raising gives its reservation back."""
    lab = CacheLab(ValueError("broken"))
    action = lab.call(serializable=True)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.FAILED
    assert not lab.shelf.reservations


@pytest.mark.rule("R51")
def test_an_abort_releases() -> None:
    """An aborted action gives its reservation back."""
    lab = CacheLab(running(0))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    lab.client.abort(action)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert not lab.shelf.reservations


@pytest.mark.rule("R48")
def test_a_foreign_reservation_is_left_alone() -> None:
    """Whoever lost its reservation does not release that of its successor."""
    lab = CacheLab(running(0), failure("E", "boom"))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    lab.shelf.steal()
    lab.settle()
    assert [held.owner for held in lab.shelf.reservations.values()] == ["somebody"]


@pytest.mark.rule("R45")
def test_a_failing_release_fails_nothing() -> None:
    """A release that fails is only logged: the lease ends by itself."""
    lab = CacheLab()
    lab.shelf.broken["release"] = DOWN
    action = lab.call(serializable=True)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R48")
def test_nothing_is_released_without_serialization() -> None:
    """A task that never reserves never releases."""
    lab = CacheLab()
    lab.call()
    lab.settle()
    assert lab.asked("release") == 0


@pytest.mark.rule("R51")
def test_an_end_whose_key_cannot_be_computed_ends() -> None:
    """An action whose inputs can no longer be read ends all the same; its reservation runs out."""
    lab = CacheLab(ValueError("broken"))
    action = lab.call_by_reference(serializable=True)
    lab.reconcile(action)
    assert lab.get(action).status.cache_token
    lab.blobs.delete_prefix(FAR)
    lab.reconciler.cache_keys = Remembered(1024 * 1024)  # as after a restart
    lab.settle()
    assert lab.get(action).phase is ActionPhase.FAILED


@pytest.mark.rule("R51")
def test_an_end_after_caching_was_switched_off_ends() -> None:
    """An installation that drops its catalog can still end what holds a reservation."""
    lab = CacheLab(ValueError("broken"))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    lab.reconciler.catalog = None
    lab.settle()
    assert lab.get(action).phase is ActionPhase.FAILED


@pytest.mark.rule("R45")
def test_a_short_circuited_transition_passes_unchanged() -> None:
    """The step after execution leaves a short-circuited transition alone: no put, no release."""
    lab = CacheLab(running(0))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    lab.journal.clear()
    record = lab.get(action)
    transition = Transition(success())
    ctx = lab.reconciler.context(record, lab.plugin)
    assert lab.reconciler.finalize_cache_after_execution(record, ctx, transition, True) is transition
    assert not lab.journal


@pytest.mark.rule("R48")
def test_releasing_nothing_is_fine() -> None:
    """Without a configuration there is nothing to release, and no error."""
    lab = CacheLab()
    lab.reconciler.release_cache_reservation(None)
    assert lab.asked("release") == 0

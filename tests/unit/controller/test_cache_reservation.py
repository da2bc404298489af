"""Who holds the reservation of a cache key runs, all others wait (R44)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cache_lab import DOWN, OUTPUTS, CacheLab, returning

from reconciler.api.action import Result
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import CacheStatus, OutputRef, PhaseInfo, queued, retryable_failure, running
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.managers import Allocation, Answer
from reconciler.stores.catalog import CacheSource


@pytest.mark.rule("R44")
def test_the_owner_of_the_reservation_runs() -> None:
    """The first of two equal serialized tasks runs and holds the reservation under its namespace and identity."""
    lab = CacheLab(running(0))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    (held,) = lab.shelf.reservations.values()
    assert held.owner == f"flyte/{action}@{lab.get(action).metadata.incarnation}"
    assert lab.get(action).status.cache_token == held.token > 0


@pytest.mark.rule("R44")
def test_a_task_that_is_not_serializable_asks_for_no_reservation() -> None:
    """Two equal tasks that are not serializable may run side by side."""
    lab = CacheLab(running(0))
    for action in (lab.call(), lab.call()):
        lab.reconcile(action)
    assert lab.asked("reserve") == 0
    assert len(lab.plugin.handled) == 2


@pytest.mark.rule("R44")
def test_a_foreign_reservation_makes_it_wait() -> None:
    """The second of two equal serialized tasks waits, names whom it waits for, and says MISS."""
    lab = CacheLab(running(0))
    first, second = lab.call(serializable=True), lab.call(serializable=True)
    lab.reconcile(first)
    lab.reconcile(second)
    record, event = lab.get(second), lab.events(second)[-1]
    reason = f'waiting for cache to be populated by reservation owner "flyte/{first}"'
    assert (record.phase, record.status.plugin_phase) == (
        ActionPhase.WAITING_FOR_RESOURCES,
        "PhaseWaitingForCache",
    )
    assert record.status.conditions[0].message == reason
    assert [entry.message for entry in event.cluster_events] == [reason, "waiting for serialized cache owner"]
    assert event.cache_status is CacheStatus.MISS
    assert len(lab.plugin.handled) == 1


@pytest.mark.rule("R44")
def test_waiting_keeps_the_phase_version() -> None:
    """Waiting for the cache carries on the phase version the record has."""
    lab = CacheLab(queued(0, 7, "sent"))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    claim = lab.store.claim(lab.store.shard_of(action.run_id), owner="t", limit=0, named=[action])
    record = claim.actions[0]
    record.set_status(launched=False)
    lab.shelf.steal()
    transition, short = lab.reconciler.evaluate_cache_before_execution(
        record, lab.reconciler.context(record, lab.plugin)
    )
    assert short
    assert transition.info.version == 7


@pytest.mark.rule("R44")
def test_a_waiter_looks_again_after_the_requeue_duration() -> None:
    """Whoever waits for the cache is looked at again, and takes the hit once the owner has put its outputs."""
    lab = CacheLab(running(0), returning())
    first, second = lab.call(serializable=True), lab.call(serializable=True)
    lab.reconcile(first)
    lab.reconcile(second)
    assert lab.reconcile(second) == Result(10_000)
    lab.settle()
    assert lab.client.result(second) == 1
    assert lab.get(second).status.cache_status is CacheStatus.HIT
    assert [ctx.action.id for ctx in lab.plugin.handled] == [first, first]


@pytest.mark.rule("R44")
def test_a_waiter_holds_no_units_of_a_quota() -> None:
    """The owner of the reservation may need them: two that wait for what the other holds would never end."""

    def asks(ctx: TaskExecutionContext) -> PhaseInfo:
        ctx.allocate("gpu")
        return ctx.wait_for("licence", Answer(Allocation.EXHAUSTED))

    lab = CacheLab(asks, quotas=("gpu=1",))
    loser = lab.call(1, serializable=True)
    lab.reconcile(loser)
    assert [lease.held for lease in lab.get(loser).status.quota_leases] == [True]
    lab.shelf.steal()
    other = lab.call(2, serializable=True)
    lab.reconcile(other)
    assert [lease.held for lease in lab.get(other).status.quota_leases] == [False]
    lab.reconcile(loser)
    assert lab.get(loser).status.plugin_phase == "PhaseWaitingForCache"
    assert lab.get(loser).status.quota_leases == ()
    lab.reconcile(other)
    assert [lease.held for lease in lab.get(other).status.quota_leases] == [True]


@pytest.mark.rule("R44")
def test_the_next_waiter_runs_when_the_owner_failed() -> None:
    """An owner that fails leaves the reservation to the next one in line, which then runs."""
    lab = CacheLab(running(0), retryable_failure("E", "boom"), returning())
    first, second = lab.call(serializable=True), lab.call(serializable=True)
    lab.reconcile(first)
    lab.settle()
    assert lab.get(first).phase is ActionPhase.FAILED
    assert lab.get(second).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R44")
def test_a_reservation_that_cannot_be_asked_for_is_a_counted_error() -> None:
    """Without an answer about the reservation nothing runs; the error is counted and shown."""
    lab = CacheLab()
    lab.shelf.broken["reserve"] = DOWN
    action = lab.call(serializable=True)
    lab.reconcile(action)
    record = lab.get(action)
    assert record.status.system_failures == 1
    assert record.status.conditions[0].message.startswith("acquiring cache reservation:")
    assert not lab.plugin.handled


@pytest.mark.rule("R44")
def test_a_fresh_reservation_looks_up_once_more() -> None:
    """A put between the first lookup and the acquisition is found: the task does not run a second time."""
    lab = CacheLab()
    source = CacheSource(run="meanwhile")
    ask = lab.shelf.get_or_extend_reservation

    def after_a_put(*args: object) -> object:
        held = ask(*args)  # type: ignore[arg-type]  # handed through
        lab.shelf.fill(OutputRef(uri="s3://memory/x", inline=b'{"o0":5}'), source)
        return held

    lab.shelf.get_or_extend_reservation = after_a_put  # type: ignore[method-assign,assignment]  # the race
    lab.shelf.blobs = None
    action = lab.call(serializable=True)
    lab.settle()
    assert lab.client.result(action) == 5
    assert not lab.plugin.handled


@pytest.mark.rule("R44")
def test_a_hit_after_a_fresh_acquisition_releases_it() -> None:
    """The reservation that turned out not to be needed is given back at once (R51)."""
    lab = CacheLab()
    test = lab.shelf
    ask = test.get_or_extend_reservation

    def after_a_put(*args: object) -> object:
        held = ask(*args)  # type: ignore[arg-type]  # handed through
        test.fill(OutputRef(uri="s3://memory/x", inline=OUTPUTS))
        return held

    test.get_or_extend_reservation = after_a_put  # type: ignore[method-assign,assignment]  # the race
    test.blobs = None
    action = lab.call(serializable=True)
    lab.settle()
    assert not test.reservations
    assert lab.get(action).status.cache_token == 0


@pytest.mark.rule("R44")
def test_an_extended_reservation_does_not_look_up_again() -> None:
    """Only a fresh acquisition asks twice; a running owner extends without a lookup."""
    lab = CacheLab(running(0))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    assert lab.asked("get") == 2
    lab.reconcile(action)
    assert lab.asked("get") == 2
    assert lab.asked("reserve") == 2


@pytest.mark.rule("R21")
def test_a_reservation_lost_while_running_is_no_reason_to_stop() -> None:
    """An owner whose reservation went to somebody else goes on running and gives up its token."""
    lab = CacheLab(running(0))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    lab.shelf.steal()
    lab.reconcile(action)
    record = lab.get(action)
    assert (record.phase, record.status.cache_token) == (ActionPhase.RUNNING, 0)
    assert len(lab.plugin.handled) == 2


@pytest.mark.rule("R51")
def test_outputs_made_without_the_reservation_are_not_published() -> None:
    """A run that lost its reservation succeeds, but does not fill the key the new owner is to fill."""
    lab = CacheLab(running(0), returning())
    action = lab.call(serializable=True)
    lab.reconcile(action)
    lab.shelf.steal()
    lab.settle()
    record = lab.get(action)
    assert (record.phase, record.status.cache_status) == (ActionPhase.SUCCEEDED, CacheStatus.PUT_FAILURE)
    assert not lab.shelf.entries


@pytest.mark.rule("R21")
def test_a_reservation_regained_under_another_token_is_not_enough() -> None:
    """A reservation that lapsed while the task ran and was taken anew does not vouch for what ran in between."""
    lab = CacheLab(running(0), returning())
    action = lab.call(serializable=True)
    lab.reconcile(action)
    lab.clock.advance(31_000)
    lab.reconcile(action)
    record = lab.get(action)
    assert (record.phase, record.status.cache_status) == (ActionPhase.SUCCEEDED, CacheStatus.PUT_FAILURE)
    assert not lab.shelf.reservations


@pytest.mark.rule("R51")
def test_a_plugin_that_sleeps_long_keeps_its_reservation() -> None:
    """A plugin that asks to be looked at in an hour is looked at before the reservation ends, and never loses it."""
    lab = CacheLab()
    start = lab.clock()
    lab.plugin.answers = [running(0, requeue_at=start + 3_600_000)] * 300 + [returning()]
    action = lab.call(serializable=True)
    assert lab.reconcile(action) == Result(15_000)
    lab.settle()
    record = lab.get(action)
    assert (record.phase, record.status.cache_status) == (ActionPhase.SUCCEEDED, CacheStatus.POPULATED)


@pytest.mark.rule("R51")
def test_a_long_requeue_duration_does_not_break_serialization() -> None:
    """A requeue duration above the lease of a reservation does not let the reservation lapse."""
    lab = CacheLab(*[running(0)] * 5, returning(), requeue_duration=timedelta(seconds=120))
    action = lab.call(serializable=True)
    lab.settle()
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


@pytest.mark.rule("R44")
def test_an_exact_time_before_the_half_of_the_lease_stays() -> None:
    """A plugin that asks for an earlier look gets exactly that."""
    lab = CacheLab()
    lab.plugin.answers = [running(0, requeue_at=lab.clock() + 700)]
    assert lab.reconcile(lab.call(serializable=True)) == Result(700)


@pytest.mark.rule("R44")
def test_a_waiter_is_woken_by_the_put() -> None:
    """Whoever waits for a key takes the hit when it is filled, without waiting for its own next look."""
    lab = CacheLab(running(0), returning())
    first, second = lab.call(serializable=True), lab.call(serializable=True)
    lab.reconcile(first)
    lab.reconcile(second)
    lab.reconcile(second)
    now = lab.clock()
    lab.reconcile(first)
    lab.step(second)
    assert lab.get(second).phase is ActionPhase.SUCCEEDED
    assert lab.clock() == now

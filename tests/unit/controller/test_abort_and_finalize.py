"""How an action ends when somebody asks, and what is owed after any end (R37, R38, R39, R41)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from control_support import (
    CACHED,
    FULL,
    REQUEUE,
    TYPE,
    SmallCatalog,
    condition,
    forget_plugin,
    history,
    lab_of,
    phases,
    retries,
    running_lab,
    stored,
)

from reconciler.api.action import (
    DONE,
    FINALIZER,
    LABEL_COMPLETED_TIME,
    Deletion,
    Result,
)
from reconciler.api.approval import ConditionSpec
from reconciler.api.errors import StoreUnavailable, Superseded
from reconciler.api.phase import ActionPhase
from reconciler.api.resource import QuotaLease
from reconciler.api.status_conditions import ConditionStatus, ConditionType
from reconciler.api.template import Interface
from reconciler.api.transition import retryable_failure, running, success
from reconciler.controller.round import commit_one, round_on

BUSY = OSError("busy")


@pytest.mark.rule("R38")
def test_an_abort_ends_in_aborted() -> None:
    """The record stays and says so: conditions, history, labels, no finalizer, never due again."""
    lab, action = running_lab()
    assert lab.reconcile(action) == DONE
    found = lab.get(action)
    failed = condition(found, ConditionType.FAILED)
    assert found.phase is ActionPhase.ABORTED
    assert (failed.status, failed.reason) == (ConditionStatus.TRUE, "Aborted")
    assert failed.message == "TaskAction was aborted: too slow"
    assert history(found)[-1] == "Aborted"
    assert LABEL_COMPLETED_TIME in found.labels
    assert found.metadata.finalizers == ()
    assert lab.store.due(lab.store.shard_of(action.run_id)) == []


@pytest.mark.rule("R38")
def test_the_event_says_when_who_and_why() -> None:
    """One final ABORTED event of the current attempt, version 0, with the time of the request, its actor and reason."""
    lab, action = running_lab()
    asked = lab.clock()
    lab.clock.advance(3000)
    lab.reconcile(action)
    event = lab.events(action)[-1]
    assert (event.phase, event.attempt, event.version, event.final) == (ActionPhase.ABORTED, 1, 0, True)
    assert (event.updated_time, event.reported_time, event.actor) == (asked, asked + 3000, "ann")
    assert [e.message for e in event.cluster_events] == ["too slow"]


@pytest.mark.rule("R38")
def test_an_abort_without_a_reason_has_one() -> None:
    """The reason is "aborted" when none was given."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.store.request_abort(action, Deletion())
    lab.reconcile(action)
    assert condition(lab.get(action), ConditionType.FAILED).message == "TaskAction was aborted"
    assert [e.message for e in lab.events(action)[-1].cluster_events] == ["aborted"]


@pytest.mark.rule("R38")
def test_an_action_nobody_looked_at_ends_without_its_plugin() -> None:
    """Without a finalizer nothing was launched: no abort, no finalize, but the event and the end."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    lab.client.abort(action)
    lab.settle()
    assert lab.journal.of("handle", "abort", "finalize") == []
    assert phases(lab, action) == [("queued", 1, False), ("aborted", 1, True)]


@pytest.mark.rule("R38")
def test_a_claim_alone_owes_nothing_to_the_plugin() -> None:
    """Asked to end between submission and first look, the finalizer of that very claim calls no plugin."""
    lab = lab_of(running(0))
    action = stored(lab)
    shard = lab.store.shard_of(action.run_id)
    (claimed,) = lab.store.claim(shard, owner="t", limit=0, named=[action]).actions
    claimed.set_metadata(deletion=Deletion(at=1))
    commit_one(lab.reconciler, lab.reconciler.round(claimed)[1])
    assert lab.journal.of("handle", "abort", "finalize") == []
    assert lab.get(action).phase is ActionPhase.ABORTED


@pytest.mark.rule("R38")
def test_a_read_record_that_was_claimed_before_is_stopped() -> None:
    """Called on a record that was merely read, an earlier claim counts as a possible launch; no claim counts as none."""
    lab = lab_of(running(0))
    fresh = lab.get(stored(lab))
    lab.reconciler.handle_abort_and_finalize(fresh)
    assert lab.journal.of("abort") == []
    other = lab_of(running(0))
    action = stored(other)
    other.store.claim(other.store.shard_of(action.run_id), owner="died", limit=0, named=[action])
    other.clock.advance(other.settings.step_lease)
    other.reconciler.handle_abort_and_finalize(other.get(action))
    assert [e.what for e in other.journal.of("abort", "finalize")] == ["abort", "finalize"]


@pytest.mark.rule("R38")
@pytest.mark.parametrize("failing", ["abort", "finalize"])
def test_a_failing_clean_up_is_repeated_from_the_top(failing: str) -> None:
    """When abort or finalize raises, the action stays and the next round calls both again."""
    lab, action = running_lab(**{f"on_{failing}": [BUSY, None]})
    assert lab.reconcile(action) == Result(REQUEUE)
    assert lab.get(action).phase is ActionPhase.RUNNING
    assert lab.get(action).status.cleanup_tries == 1
    assert lab.reconcile(action) == DONE
    calls = [e.what for e in lab.journal.of("abort", "finalize", "abort!", "finalize!")]
    first = ["abort!"] if failing == "abort" else ["abort", "finalize!"]
    assert calls == [*first, "abort", "finalize"]
    assert lab.get(action).phase is ActionPhase.ABORTED


@pytest.mark.rule("R38")
def test_the_abort_is_told_which_attempt_runs() -> None:
    """Clean-up has the context of the current attempt."""
    lab = lab_of(retryable_failure("E", "x"), running(0))
    action = lab.submit(TYPE, metadata=retries(1))
    lab.reconcile(action)
    lab.reconcile(action)
    lab.client.abort(action)
    lab.reconcile(action)
    assert lab.plugin.aborted[-1].launch == "2"  # type: ignore[attr-defined]  # see lab_of
    assert lab.events(action)[-1].attempt == 2


@pytest.mark.rule("R38")
def test_a_release_that_fails_holds_nothing_up() -> None:
    """A reservation that cannot be released is audited, and the action ends."""
    catalog = SmallCatalog()
    lab = lab_of(running(0), catalog=catalog)
    action = lab.submit(TYPE, metadata=CACHED, interface=Interface())
    lab.reconcile(action)
    catalog.fail["release"] = StoreUnavailable("the catalog is away")
    lab.client.abort(action)
    assert lab.reconcile(action) == DONE
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert [(e.reason, e.message) for e in lab.audit()] == [("ReservationNotReleased", "the catalog is away")]


@pytest.mark.rule("R38")
def test_the_plugin_state_of_an_aborted_action_is_forgotten() -> None:
    """Clean-up reads the state; afterwards neither bytes nor version are kept."""

    def keep(ctx: Any) -> Any:
        ctx.state.put(4, {"pod": "p"})
        return running(0)

    lab = lab_of(keep)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.client.abort(action)
    lab.reconcile(action)
    (ctx,) = lab.plugin.aborted  # type: ignore[attr-defined]  # see lab_of
    assert ctx.state.version == 4
    status = lab.get(action).status
    assert (status.plugin_state, status.plugin_state_version) == (b"", 0)


# -- after any end (R37, R39) --------------------------------------------------------------------------------------
@pytest.mark.rule("R37")
def test_finalize_follows_the_end_at_once() -> None:
    """What an attempt holds is given back right after the end, not when the record is collected."""
    lab = lab_of(success())
    action = lab.submit(TYPE)
    ended = lab.clock()
    lab.settle()
    assert lab.journal.words.count("finalize") == 1
    assert lab.clock() == ended
    assert lab.get(action).metadata.finalizers == ()


@pytest.mark.rule("R37")
def test_a_plugin_without_finalize_needs_no_further_round() -> None:
    """When nothing is owed the finalizer goes with the end itself."""
    lab = lab_of(success(), finalizes=False)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    assert lab.get(action).metadata.finalizers == ()
    assert lab.store.due(lab.store.shard_of(action.run_id)) == []


@pytest.mark.rule("R37")
def test_a_finalize_that_fails_after_the_end_is_repeated() -> None:
    """The end stands; finalize is tried again with back-off until it succeeds, without any event."""
    lab = lab_of(success(), on_finalize=[BUSY, BUSY, None])
    action = lab.submit(TYPE)
    lab.reconcile(action)
    count = len(lab.events(action))
    assert lab.reconcile(action) == Result(REQUEUE)
    assert lab.get(action).metadata.finalizers == (FINALIZER,)
    lab.settle()
    assert lab.get(action).metadata.finalizers == ()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert len(lab.events(action)) == count


@pytest.mark.rule("R41")
def test_a_plugin_that_vanished_after_the_end_is_not_waited_for() -> None:
    """The finalizer of an ended action whose plugin is gone is dropped, and the skip is audited."""
    lab = lab_of(success())
    action = lab.submit(TYPE)
    lab.reconcile(action)
    forget_plugin(lab)
    lab.reconcile(action)
    assert lab.get(action).metadata.finalizers == ()
    assert lab.get(action).status.cleanup_error.startswith("clean-up was skipped")
    assert lab.audit()[-1].reason == "FinalizationSkipped"


@pytest.mark.rule("R39")
def test_deleting_an_ended_action_only_finalizes() -> None:
    """A terminal record keeps its end: no abort, no ABORTED event, no other phase."""
    lab = lab_of(success())
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.journal.clear()
    found = lab.get(action)
    found.set_metadata(deletion=Deletion(at=lab.clock()))
    assert lab.reconciler.handle_abort_and_finalize(found) == DONE
    assert lab.journal.words == ["finalize", "finalizer"]
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert phases(lab, action)[-1] == ("succeeded", 1, True)


@pytest.mark.rule("R39")
def test_aborting_an_ended_action_changes_nothing() -> None:
    """A request that comes after the end is answered by the end."""
    lab = lab_of(success())
    action = lab.submit(TYPE)
    lab.settle()
    before = lab.get(action)
    lab.client.abort(action)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert len(lab.events(action)) == before.events


@pytest.mark.rule("R36")
def test_an_ended_action_that_owes_nothing_is_left_alone() -> None:
    """Looking at it once more is no write, also when called on a record that was merely read."""
    lab = lab_of(success())
    action = lab.submit(TYPE)
    lab.settle()
    before = lab.get(action)
    assert lab.reconciler.handle_abort_and_finalize(before) == DONE
    assert lab.get(action).version == before.version


@pytest.mark.rule("R38")
def test_a_condition_is_aborted_without_a_plugin() -> None:
    """A condition has no finalizer; its abort is an end with an event all the same."""
    lab = lab_of(running(0))
    spec = msgspec.json.encode(ConditionSpec(name="ok?"))
    changes = {"action_type": "condition", "condition_spec": spec, "task_type": ""}
    action = stored(lab, msgspec.structs.replace(FULL, **changes))
    lab.reconcile(action)
    lab.client.abort(action, "nobody answers", "ann")
    lab.reconcile(action)
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert lab.journal.of("abort", "finalize") == []
    assert lab.events(action)[-1].actor == "ann"


# -- remove_finalizer ------------------------------------------------------------------------------------------------
@pytest.mark.rule("R38")
def test_only_our_finalizer_is_removed() -> None:
    """Finalizers of others stay, and so does everything else of the record."""
    lab = lab_of(running(0))
    action = stored(lab)
    found = lab.get(action)
    with round_on(lab.reconciler, found) as round:
        round.write.metadata = True
        found.set_metadata(finalizers=("other/one", FINALIZER))
    assert lab.reconciler.remove_finalizer(lab.get(action)) == DONE
    assert lab.get(action).metadata.finalizers == ("other/one",)
    assert lab.get(action).phase is ActionPhase.QUEUED


@pytest.mark.rule("R38")
def test_removing_a_finalizer_never_writes_a_stale_status() -> None:
    """Called on a record that was read before another step changed its status, the newer status stays."""
    lab = lab_of(running(0))
    action = stored(lab)
    lab.reconcile(action)
    stale = lab.get(action)
    stale.set_status(plugin_phase="PhaseQueued", attempts=7)
    lab.reconciler.remove_finalizer(stale)
    found = lab.get(action)
    assert found.metadata.finalizers == ()
    assert (found.status.plugin_phase, found.status.attempts) == ("PhaseRunning", 1)


@pytest.mark.rule("R38")
def test_removing_a_finalizer_gives_up_what_the_newest_status_holds() -> None:
    """Units of quotas are dropped with the finalizer, from the stored status and not from the one that was read."""
    lab = lab_of(running(0))
    action = stored(lab)
    lab.reconcile(action)
    stale = lab.get(action)
    newer = stale.copy()
    newer.set_status(quota_leases=(QuotaLease("gpu", "t"),), plugin_phase_version=5)
    lab.reconciler.update_task_action_status(stale, newer, running(5))
    lab.reconciler.remove_finalizer(stale)
    status = lab.get(action).status
    assert (status.quota_leases, status.plugin_phase_version) == ((), 5)


@pytest.mark.rule("R38")
def test_removing_what_is_not_there_is_no_write() -> None:
    """Without our finalizer the call is done at once."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    assert lab.reconciler.remove_finalizer(found) == DONE
    assert lab.get(found.id).version == found.version


@pytest.mark.rule("R38")
def test_a_finalizer_that_cannot_be_removed_is_an_error() -> None:
    """While another step holds the action the call raises."""
    lab = lab_of(running(0))
    action = stored(lab)
    lab.store.claim(lab.store.shard_of(action.run_id), owner="t", limit=0, named=[action])
    with pytest.raises(Superseded):
        lab.reconciler.remove_finalizer(lab.get(action))


@pytest.mark.rule("R38")
def test_an_empty_reason_is_the_default_one() -> None:
    """Who aborts without saying why is noted as any user who does not: the event says so."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    lab.client.abort(action, "")
    lab.settle()
    assert [reason.message for reason in lab.events(action)[-1].cluster_events] == ["User requested abort"]

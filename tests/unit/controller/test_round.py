"""A round alone: what it stages, what it claims, and what it leaves behind."""

from __future__ import annotations

import pytest
from control_support import FULL, lab_of, record, stored

from reconciler.api.action import DONE, FINALIZER, TaskAction
from reconciler.api.errors import ActionNotFound, Superseded
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.transition import ErrorKind, ExecutionError, failed, queued, retryable_failure, running
from reconciler.controller import ending, outcome
from reconciler.controller.round import Round, round_on
from reconciler.stores.base import Write
from reconciler.testing import Lab


def round_of(lab: Lab, action: TaskAction) -> Round:
    """Return a round of a claimed record, with the lab's plugin."""
    original = action.copy()
    round = Round(lab.reconciler, action, original, Write(action=action, original=original))
    round.plugin = lab.plugin  # type: ignore[attr-defined]  # see lab_of
    round.open_context()
    return round


@pytest.mark.rule("R6", "R59")
def test_events_of_one_round_are_numbered_without_a_gap() -> None:
    """Each staged event has the number after the one before it; the record's own count is only read."""
    lab = lab_of(running(0))
    round = round_of(lab, record(now=lab.clock(), events=4))
    round.publish(retryable_failure("E", "x"), final=False)
    round.publish(queued(0, 0, "again"))
    assert [(event.sequence, event.final) for event in round.write.events] == [(5, False), (6, False)]
    assert round.write.status


@pytest.mark.rule("R6")
def test_a_round_that_changes_nothing_stages_nothing() -> None:
    """An unchanged status makes no event; coming back later without anything counted stores nothing."""
    lab = lab_of(running(0))
    round = round_of(lab, record(now=lab.clock()))
    round.save_status(running(0))
    assert round.later(lab.clock() + 700).requeue_after == 700
    assert (round.write.events, round.write.status, round.write.metadata) == ([], False, False)


@pytest.mark.rule("R41")
def test_coming_back_later_stores_what_was_counted() -> None:
    """A counted try is stored without an event; a time that is over means at once."""
    lab = lab_of(running(0))
    round = round_of(lab, record(now=lab.clock()))
    round.record.set_status(cleanup_tries=1)
    assert round.later(lab.clock() - 1).requeue_after == 0
    assert (round.write.events, round.write.status) == ([], True)


@pytest.mark.rule("R21")
def test_a_phase_alone_becomes_a_record() -> None:
    """From a phase to status, event and next look, without validation, cache or plugin."""
    lab = lab_of(running(0))
    round = round_of(lab, record(now=lab.clock()))
    assert outcome.store(round, running(3)).woken
    status = round.record.status
    assert (status.plugin_phase, status.plugin_phase_version) == (PluginPhase.RUNNING.label, 3)
    assert (status.launched, status.running_at) == (True, lab.clock())
    assert [event.phase for event in round.write.events] == [ActionPhase.RUNNING]


@pytest.mark.rule("R35")
def test_an_end_alone_is_one_write() -> None:
    """Failing a record stages status, event and labels together; the finalizer stays for a plugin that is owed a call."""
    lab = lab_of(running(0))
    round = round_of(lab, record(now=lab.clock()))
    round.record.set_metadata(finalizers=(FINALIZER,))
    assert ending.fail(round, ExecutionError("E", "x", ErrorKind.USER)) == DONE
    assert [(event.phase, event.final) for event in round.write.events] == [(ActionPhase.FAILED, True)]
    assert round.write.metadata
    assert round.record.metadata.completed_at == lab.clock()
    assert round.record.metadata.finalizers == (FINALIZER,)


@pytest.mark.rule("R2")
def test_a_record_merely_read_is_claimed_when_something_is_written() -> None:
    """Reading and deciding claim nothing; the first thing to be written does, and the end of the round commits it."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    with round_on(lab.reconciler, found) as round:
        assert round.merely_read
    assert lab.get(found.id).token == 0
    with round_on(lab.reconciler, found) as round:
        round.record.set_status(attempts=1)
        round.save_status(running(0))
        assert not round.merely_read
    assert lab.get(found.id).status.attempts == 1
    assert lab.reconcile(found.id).woken


@pytest.mark.rule("R2")
def test_a_round_that_raises_gives_the_record_back() -> None:
    """Nothing of it is written, and nobody has to wait for the end of its lease."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))

    def broken() -> None:
        with round_on(lab.reconciler, found) as round:
            round.record.set_status(attempts=1)
            round.write.status = True
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        broken()
    assert lab.get(found.id).status.attempts == 0
    assert lab.reconcile(found.id).woken


@pytest.mark.rule("R2")
@pytest.mark.parametrize(("held", "error"), [(True, Superseded), (False, ActionNotFound)])
def test_what_cannot_be_claimed_cannot_be_written(held: bool, error: type[Exception]) -> None:  # noqa: FBT001  # a table
    """Another's claim, or no record at all: the first thing to be written says so."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab)) if held else record(FULL)
    if held:
        lab.store.claim(lab.store.shard_of(found.id.run_id), owner="other", limit=0, named=[found.id])
    round = Round(lab.reconciler, found, found.copy())
    with pytest.raises(error):
        round.publish(failed(PluginPhase.PERMANENT_FAILURE, None))

"""Clean-up is tried a bounded number of times, for a bounded time, and never given up silently (R41)."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from control_support import (
    CACHED,
    FULL,
    REQUEUE,
    TYPE,
    SmallCatalog,
    forget_plugin,
    lab_of,
    phases,
    running_lab,
    stored,
)

from reconciler.api.action import (
    DONE,
    Result,
    TaskAction,
)
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface
from reconciler.api.transition import running, success, system_retryable_failure
from reconciler.plugins.base import StillStopping

BUSY = OSError("busy")
LOST = system_retryable_failure("Gone", "worker lost")
MINUTE = timedelta(minutes=1)
MINUTE_MS = 60_000


@pytest.mark.rule("R41")
def test_an_abort_that_always_fails_ends_as_cleanup_failed() -> None:
    """After the allowed tries, each later than the one before, the action ends all the same and says why."""
    lab, action = running_lab(on_abort=[BUSY], settings={"max_cleanup_tries": 3})
    first = lab.reconcile(action).requeue_after
    second = lab.reconcile(action).requeue_after
    assert first == REQUEUE
    assert second is not None
    assert second >= 2 * REQUEUE
    assert lab.reconcile(action) == DONE
    found = lab.get(action)
    assert found.phase is ActionPhase.ABORTED
    assert found.status.cleanup_error == 'plugin "demo" could not clean up: OSError: busy'
    assert lab.audit()[-1].reason == "CleanupFailed"
    assert lab.events(action)[-1].phase is ActionPhase.ABORTED
    assert [e.what for e in lab.journal.of("finalize")] == ["finalize"]


@pytest.mark.rule("R41")
def test_a_missing_plugin_does_not_make_the_end_silent() -> None:
    """Without its plugin the action still gets its event and loses its reservation; the skip is audited."""
    catalog = SmallCatalog()
    lab = lab_of(running(0), catalog=catalog)
    action = lab.submit(TYPE, metadata=CACHED, interface=Interface())
    lab.reconcile(action)
    assert catalog.owner
    forget_plugin(lab)
    lab.client.abort(action)
    assert lab.reconcile(action) == DONE
    found = lab.get(action)
    assert found.phase is ActionPhase.ABORTED
    assert catalog.owner == ""
    assert found.status.cleanup_error.startswith("clean-up was skipped: no plugin registered")
    (entry,) = lab.audit()
    assert (entry.type, entry.reason, entry.action) == (
        "Warning",
        "FinalizationSkipped",
        "FinalizingTaskAction",
    )
    assert phases(lab, action)[-1] == ("aborted", 1, True)


@pytest.mark.rule("R41")
def test_a_context_that_cannot_be_built_does_not_make_the_end_silent() -> None:
    """With an output base nobody can read the action still gets its event, and the skip is audited."""
    lab = lab_of(running(0))
    action = stored(lab, msgspec.structs.replace(FULL, task_type=TYPE, run_output_base="nowhere"))
    shard = lab.store.shard_of(action.run_id)
    lab.store.claim(shard, owner="died", limit=0, named=[action])
    lab.clock.advance(lab.settings.step_lease)
    lab.client.abort(action)
    lab.reconcile(action)
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert lab.audit()[-1].reason == "FinalizationSkipped"


@pytest.mark.rule("R41")
def test_a_finalize_that_always_fails_is_given_up() -> None:
    """After the allowed tries the finalizer goes and the record says that clean-up failed."""
    lab = lab_of(success(), on_finalize=[BUSY], settings={"max_cleanup_tries": 2})
    action = lab.submit(TYPE)
    lab.settle()
    found = lab.get(action)
    assert found.metadata.finalizers == ()
    assert "OSError: busy" in found.status.cleanup_error
    assert found.phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R38")
def test_waiting_for_clean_up_outside_a_round_is_stored() -> None:
    """Called directly, a failing abort stores its counted try and says when to come back."""
    lab, action = running_lab(on_abort=[BUSY])
    found: TaskAction = lab.get(action)
    assert lab.reconciler.handle_abort_and_finalize(found) == Result(REQUEUE)
    assert lab.get(action).status.cleanup_tries == 1


@pytest.mark.rule("R41")
def test_what_is_still_stopping_after_the_end_is_no_failure() -> None:
    """Finalize may need longer than all its tries: it is asked again at its own time, and nothing is given up."""
    lab = lab_of(success(), on_finalize=[StillStopping(0, "slow")] * 12 + [None])  # type: ignore[list-item]  # raised as told
    action = lab.submit(TYPE)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert lab.get(action).status.cleanup_error == ""
    assert len(lab.plugin.finalized) == 13  # type: ignore[attr-defined]  # see lab_of
    assert lab.get(action).metadata.finalizers == ()


@pytest.mark.rule("R41")
def test_an_abort_that_never_ends_is_given_up() -> None:
    """A plugin that is still stopping when its patience is over holds up no end: aborted, and the record says why."""
    lab, action = running_lab(on_abort=[StillStopping(0, "the work")], settings={"cleanup_patience": MINUTE})
    asked = lab.clock()
    lab.settle()
    found = lab.get(action)
    assert (found.phase, found.metadata.completed_at) == (ActionPhase.ABORTED, asked + MINUTE_MS)
    assert "the work was asked to stop and has not ended yet" in found.status.cleanup_error
    assert (found.status.cleanup_tries, found.status.stopping_since) == (0, 0)
    assert len(lab.plugin.finalized) == 1, "what could not be stopped still gives back what it holds"  # type: ignore[attr-defined]  # see lab_of
    assert [event.phase for event in lab.events(action)][-1] == ActionPhase.ABORTED


@pytest.mark.rule("R41")
def test_a_finalize_that_never_ends_is_given_up() -> None:
    """An ended action is let go when its plugin is still stopping after its patience; its end stays."""
    lab = lab_of(success(), on_finalize=[StillStopping(0, "the work")], settings={"cleanup_patience": MINUTE})
    action = lab.submit(TYPE)
    lab.settle()
    found = lab.get(action)
    assert found.phase is ActionPhase.SUCCEEDED
    assert found.metadata.finalizers == ()
    assert found.status.cleanup_error
    assert MINUTE_MS <= lab.clock() - found.metadata.completed_at < MINUTE_MS + 1_000


@pytest.mark.rule("R41")
def test_each_stop_has_its_own_patience() -> None:
    """A stop that came to its end does not shorten the next one."""
    slow = StillStopping(0, "the work")
    lab = lab_of(LOST, LOST, running(0), on_abort=[slow, None, slow], settings={"cleanup_patience": MINUTE})
    action = lab.submit(TYPE)
    lab.settle(limit=timedelta(seconds=20))
    lab.clock.advance(2 * MINUTE_MS)
    asked = lab.clock()
    lab.client.abort(action)
    lab.settle()
    assert lab.get(action).metadata.completed_at == asked + MINUTE_MS

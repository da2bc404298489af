"""The end by failure (R35)."""

from __future__ import annotations

import pytest
from control_support import FULL, TYPE, condition, history, lab_of, phases, stored

from reconciler.api.action import DONE, LABEL_COMPLETED_TIME, ActionId, TaskAction
from reconciler.api.errors import Superseded
from reconciler.api.phase import ActionPhase
from reconciler.api.status_conditions import MESSAGE_LIMIT, ConditionStatus, ConditionType, ErrorState
from reconciler.api.transition import CacheStatus, ErrorKind, ExecutionError, TaskInfo, failure, running
from reconciler.testing import Lab

ERROR = ExecutionError("Broken", "it broke", ErrorKind.SYSTEM)


def claimed(lab: Lab, action: ActionId) -> TaskAction:
    """Return the record under a claim."""
    (found,) = lab.store.claim(lab.store.shard_of(action.run_id), owner="t", limit=0, named=[action]).actions
    return found


def direct(lab: Lab) -> ActionId:
    """Return a record that is running, ended by calling the method on what was merely read."""
    action = stored(lab, FULL)
    lab.reconcile(action)
    found = lab.get(action)
    assert lab.reconciler.finalize_permanent_failure(found, found.copy(), ERROR) == DONE
    return action


@pytest.mark.rule("R35")
def test_a_permanent_failure_is_mapped_to_the_record() -> None:
    """Failed=True, Progressing=False, history, error state, phase name and version 0."""
    lab = lab_of(running(3))
    found = lab.get(direct(lab))
    failed = condition(found, ConditionType.FAILED)
    assert (failed.status, failed.reason, failed.message) == (
        ConditionStatus.TRUE,
        "PermanentFailure",
        "it broke",
    )
    assert condition(found, ConditionType.PROGRESSING).status is ConditionStatus.FALSE
    assert history(found)[-1] == "PermanentFailure"
    assert found.status.error_state == ErrorState("Broken", "SYSTEM", "it broke")
    assert (found.status.plugin_phase, found.status.plugin_phase_version) == ("PhasePermanentFailure", 0)


@pytest.mark.rule("R35")
def test_event_status_and_labels_are_one_write() -> None:
    """Called on a record that was merely read, the end is still a single commit."""
    lab = lab_of(running(0))
    action = stored(lab, FULL)
    found = lab.get(action)
    verbs: list[str] = []
    lab.store.on_write = lambda verb, _: verbs.append(verb)
    lab.reconciler.finalize_permanent_failure(found, found.copy(), ERROR)
    assert verbs == ["claim", "commit"]
    assert phases(lab, action)[-1] == ("failed", 1, True)
    assert LABEL_COMPLETED_TIME in lab.get(action).labels


@pytest.mark.rule("R35")
def test_the_plugin_is_not_aborted() -> None:
    """The end by failure calls neither abort nor handle; what is owed is paid by the next round."""
    lab = lab_of(running(0))
    direct(lab)
    assert lab.journal.of("abort", "finalize") == []
    lab.settle()
    assert [e.what for e in lab.journal.of("abort", "finalize")] == ["finalize"]


@pytest.mark.rule("R35")
def test_cache_status_and_plugin_state_are_left_alone() -> None:
    """The end by failure touches neither."""
    lab = lab_of(running(0))
    action = stored(lab, FULL)
    found = claimed(lab, action)
    found.set_status(cache_status=CacheStatus.MISS, plugin_state=b'{"a":1}', plugin_state_version=2)
    found.token = 0
    lab.clock.advance(lab.settings.step_lease)
    lab.reconciler.finalize_permanent_failure(found, found.copy(), ERROR)
    status = lab.get(action).status
    assert (status.cache_status, status.plugin_state, status.plugin_state_version) == (
        CacheStatus.MISS,
        b'{"a":1}',
        2,
    )


@pytest.mark.rule("R35")
def test_an_info_of_ones_own_is_used() -> None:
    """Details of the failure reach the event."""
    lab = lab_of(running(0))
    action = stored(lab, FULL)
    found = lab.get(action)
    info = TaskInfo(log_context={"pod": "p"})
    lab.reconciler.finalize_permanent_failure(found, found.copy(), ERROR, info)
    assert lab.events(action)[-1].log_context == {"pod": "p"}


@pytest.mark.rule("R35")
def test_the_failure_of_its_write_is_an_error() -> None:
    """While another step holds the action the call raises, and nothing is written."""
    lab = lab_of(running(0))
    action = stored(lab, FULL)
    found = lab.get(action)
    claimed(lab, action)
    with pytest.raises(Superseded, match="another step holds"):
        lab.reconciler.finalize_permanent_failure(found, found.copy(), ERROR)
    assert lab.get(action).phase is ActionPhase.QUEUED
    assert len(lab.events(action)) == 1


@pytest.mark.rule("R15")
def test_a_huge_error_still_ends_the_action() -> None:
    """A message of a megabyte is cut with a note; the action becomes terminal."""
    lab = lab_of(ValueError("unused"))
    action = lab.submit(TYPE)
    found = lab.get(action)
    error = ExecutionError("Broken", "x" * 1_000_000, ErrorKind.USER)
    lab.reconciler.finalize_permanent_failure(found, found.copy(), error)
    ended = lab.get(action)
    assert ended.phase is ActionPhase.FAILED
    kept = ended.status.error_state
    assert kept is not None
    assert len(kept.message) == MESSAGE_LIMIT
    assert kept.message.endswith("(1000000 characters, cut)")
    assert len(condition(ended, ConditionType.FAILED).message) == MESSAGE_LIMIT


@pytest.mark.rule("R15")
def test_an_endless_code_is_cut() -> None:
    """A code of any length ends the action; record and event keep 256 characters of it."""
    lab = lab_of(failure("C" * 100_000, "too much"))
    action = lab.submit(TYPE)
    lab.settle()
    error, told = lab.get(action).status.error_state, lab.events(action)[-1].error_info
    assert error is not None
    assert told is not None
    assert len(error.code) == len(told.code) == 256

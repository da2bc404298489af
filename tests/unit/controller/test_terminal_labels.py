"""Labels of an ended action (R36)."""

from __future__ import annotations

import pytest
from control_support import FULL, MINUTE, TYPE, lab_of, stored

from reconciler.api.action import (
    LABEL_COMPLETED_TIME,
    LABEL_TERMINATION_STATUS,
    Metadata,
    TaskAction,
)
from reconciler.api.errors import Superseded
from reconciler.api.stamps import completed_label
from reconciler.api.status_conditions import ConditionStatus, ConditionType
from reconciler.api.transition import failure, running, success
from reconciler.core.status_conditions import set_condition


@pytest.mark.rule("R36")
@pytest.mark.parametrize("answer", [success(), failure("E", "x")], ids=["success", "failure"])
def test_an_end_is_labelled(answer: object) -> None:
    """Both labels appear in the round that ends the action, with the minute of the terminal condition in UTC."""
    lab = lab_of(answer)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    labels = lab.get(action).labels
    assert labels[LABEL_TERMINATION_STATUS] == "terminated"
    assert labels[LABEL_COMPLETED_TIME] == "2023-11-14.22-13"


@pytest.mark.rule("R36")
def test_a_running_action_has_no_terminal_labels() -> None:
    """Labels appear with the end, not before."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    assert not {LABEL_TERMINATION_STATUS, LABEL_COMPLETED_TIME} & set(lab.get(action).labels)


@pytest.mark.rule("R36")
def test_the_time_is_that_of_the_terminal_condition() -> None:
    """Labels stamped later still say when the action ended."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    ended = lab.clock() - 5 * MINUTE
    found.status = set_condition(
        found.status, ConditionType.FAILED, ConditionStatus.TRUE, "PermanentFailure", "x", ended
    )
    lab.reconciler.ensure_terminal_labels(found)
    assert lab.get(found.id).metadata.completed_at == ended


@pytest.mark.rule("R36")
def test_without_a_terminal_condition_the_time_is_now() -> None:
    """The call does not check terminality: a live record is labelled with the current time, its status untouched."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    lab.reconciler.ensure_terminal_labels(found)
    after = lab.get(found.id)
    assert after.metadata.completed_at == lab.clock()
    assert not after.is_terminal


@pytest.mark.rule("R36")
def test_a_second_call_keeps_the_first_time() -> None:
    """Complete labels are left alone: no write at all."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    lab.reconciler.ensure_terminal_labels(found)
    first = lab.get(found.id)
    lab.clock.advance(10 * MINUTE)
    lab.reconciler.ensure_terminal_labels(first)
    again = lab.get(found.id)
    assert (again.metadata.completed_at, again.version) == (first.metadata.completed_at, first.version)


@pytest.mark.rule("R36")
def test_a_missing_completed_time_is_added() -> None:
    """A termination label alone is not complete; other labels stay."""
    lab = lab_of(running(0))
    action = TaskAction(
        stored(lab_of(running(0))),
        FULL,
        metadata=Metadata(
            namespace="flyte", name="n", extra_labels={LABEL_TERMINATION_STATUS: "terminated", "team": "a"}
        ),
    )
    lab.store.create([action])
    lab.reconciler.ensure_terminal_labels(lab.get(action.id))
    labels = lab.get(action.id).labels
    assert labels[LABEL_COMPLETED_TIME] == completed_label(lab.clock())
    assert labels["team"] == "a"


@pytest.mark.rule("R36")
def test_labels_that_cannot_be_written_are_an_error() -> None:
    """While another step holds the action the call raises."""
    lab = lab_of(running(0))
    found = lab.get(stored(lab))
    lab.store.claim(lab.store.shard_of(found.id.run_id), owner="t", limit=0, named=[found.id])
    with pytest.raises(Superseded):
        lab.reconciler.ensure_terminal_labels(found)


@pytest.mark.rule("R36")
def test_labels_never_carry_a_stale_status() -> None:
    """Labelling a record that was read before another step changed its status leaves the newer status."""
    lab = lab_of(running(0))
    stale = lab.get(stored(lab))
    lab.reconcile(stale.id)
    lab.reconciler.ensure_terminal_labels(stale)
    assert lab.get(stale.id).status.plugin_phase == "PhaseRunning"


@pytest.mark.rule("R8")
def test_completed_labels_sort_like_time() -> None:
    """The label is minute precise and sorts as text."""
    times = [1_700_000_000_000 + n * 7 * 60 * MINUTE for n in range(2000)]
    labels = [completed_label(at) for at in times]
    assert labels == sorted(labels)
    assert completed_label(0) == "1970-01-01.00-00"

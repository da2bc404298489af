"""Attempts that end together with their steps: what is decided with the outcome, and what is left to a step."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reconciler.api.action import DONE, ActionSpec, AttemptOutcome, TaskAction
from reconciler.api.errors import StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.template import RetryStrategy, TaskMetadata, TaskTemplate, encode_template
from reconciler.api.transition import OutputRef
from reconciler.controller.conclude import Ended, conclude
from reconciler.controller.launches import Follower
from reconciler.stores.base import Finished, Write
from reconciler.stores.concluding import ConcludeReport, Ending
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R6", "R74")
RETURNED = AttemptOutcome(ended="returned", outputs=OutputRef(uri="s3://b/o", sha256="00", size=3))
RAISED = AttemptOutcome(ended="raised", code="ValueError", message="no")
W, R, S = Ending.WRITTEN, Ending.RECORDED, Ending.SUPERSEDED


def lab_of(calls: int = 1, resource: str = "", **metadata: Any) -> Lab:
    """Return a lab with so many calls of a function that stand in line; with a resource it needs its only unit."""
    custom = {"function": "demo.f", **({"resource": resource} if resource else {})}
    template = TaskTemplate(type="function", custom=custom, metadata=TaskMetadata(**metadata))
    spec = ActionSpec(task_type="function", task_template=encode_template(template), inputs=b"{}")
    lab = Lab(shards=1, quotas=[f"{resource}=1"] if resource else [])
    for _ in range(calls):
        lab.run(spec)
    lab.step()
    return lab


def drawn(lab: Lab) -> list[TaskAction]:
    """Draw all launches, one after the other."""
    found: list[TaskAction] = []
    while (pick := lab.store.pick("attempts", first=True)).line:
        more = lab.store.draw(pick.shard, pick.line, owner="w", limit=9, lease=6000).actions
        if not more:
            return found
        found += more
    return found


def once(call: Callable[[], ConcludeReport]) -> ConcludeReport:
    """Make the call."""
    return call()


def told(
    lab: Lab,
    records: list[TaskAction],
    outcome: AttemptOutcome = RETURNED,
    tell: Callable[[Callable[[], ConcludeReport]], ConcludeReport] = once,
) -> tuple[Ending, ...]:
    """Report that the launches ended so."""
    ended = [
        Ended(
            record,
            Finished(record.id, record.attempt.launch, outcome, record.metadata.incarnation),
            lab.clock(),
        )
        for record in records
    ]
    return conclude(lab.engine.stepper, 0, "w", ended, tell)


def test_an_end_needs_no_step() -> None:
    """A call that returned has succeeded with its report; its outputs, event and labels are there, and nothing is due."""
    lab = lab_of()
    [record] = drawn(lab)
    assert told(lab, [record]) == (W,)
    found = lab.get(record.id)
    assert (found.phase, found.status.outputs) == (ActionPhase.SUCCEEDED, RETURNED.outputs)
    assert found.metadata.completed_at
    assert lab.store.due(0) == []
    assert lab.step().claimed == 0
    assert lab.engine.stepper.slots.taken == 0


def test_it_leaves_what_a_step_leaves() -> None:
    """The record after both ways is the same, to the last field."""
    left = []
    for way in ("one call", "three"):
        lab = lab_of()
        [record] = drawn(lab)
        if way == "one call":
            told(lab, [record])
        else:
            done = Finished(record.id, "1", RETURNED, record.metadata.incarnation)
            assert lab.store.finish_attempts(0, "w", [done]) == (True,)
            lab.engine.stepper.step(0, [record.id], drain=False)
        found, events = lab.get(record.id), lab.events(record.id)
        parts = {name: getattr(found, name) for name in TaskAction.__slots__}
        left.append(msgspec.json.encode((parts, events)).replace(found.metadata.incarnation.encode(), b"?"))
    assert left[0] == left[1]


def test_a_failed_attempt_is_launched_again_with_its_report() -> None:
    """The next launch stands in line, and a ticket is sent for it."""
    lab = lab_of(retries=RetryStrategy(retries=1))
    [record] = drawn(lab)
    lab.messenger.tickets.clear()
    assert told(lab, [record], RAISED) == (W,)
    lab.settle()
    [second] = drawn(lab)
    assert (second.id, second.status.attempts) == (record.id, 2)


def test_a_parent_is_left_to_its_step() -> None:
    """Its children may have ended since it was drawn, and only a claim tells how many."""
    lab = lab_of()
    [record] = drawn(lab)
    child = msgspec.structs.replace(
        record.spec, action_name="c", parent_action_name=record.id.action, run_name=record.id.run
    )
    lab.client.submit(child)
    assert told(lab, [lab.get(record.id)]) == (R,)
    lab.step()
    assert lab.get(record.id).phase is ActionPhase.SUCCEEDED


def test_units_of_a_quota_are_left_to_a_step() -> None:
    """A round renews them, and asks for those of the next launch: one that is not taken would keep them from all others."""
    lab = lab_of(resource="gpu")
    [record] = drawn(lab)
    assert told(lab, [record]) == (R,)
    lab.step()
    assert lab.get(record.id).phase is ActionPhase.SUCCEEDED
    assert told(lab, [record], AttemptOutcome(ended="suspended", until=lab.clock())) == (S,)
    assert lab.quotas.held() == []


def test_a_warning_is_written_once() -> None:
    """A fault of the installation is left to the step: it warns of it, whether its decision is taken or not."""
    lab = lab_of()
    [record] = drawn(lab)
    assert told(lab, [record], AttemptOutcome(ended="stopped", code="ReadFailed", message="no S3")) == (R,)
    lab.step()
    assert ["no S3" in entry.message for entry in lab.audit()] == [True]


def test_who_waits_for_an_end_is_told() -> None:
    """As after any commit of this process."""
    lab, heard = lab_of(), list[str]()
    [record] = drawn(lab)
    lab.engine.stepper.followers[record.id] = Follower(
        lambda: heard.append("coming"),
        lambda ended: heard.append(str(ended.phase)),
        lambda: heard.append("over"),
    )
    told(lab, [record])
    assert heard == ["coming", "succeeded", "over"]


def test_a_round_that_fails_is_left_to_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome is stored, the others are written, and the step meets the same error."""
    lab = lab_of(2)
    first, second = drawn(lab)
    play = lab.reconciler.round

    def fail(action: TaskAction, *given: Any) -> Any:
        if action.id == first.id:
            raise ValueError("odd")
        return play(action, *given)

    monkeypatch.setattr(lab.reconciler, "round", fail)
    assert told(lab, [first, second]) == (R, W)
    assert lab.get(first.id).attempt.outcome is not None
    monkeypatch.undo()
    lab.step()
    assert lab.get(first.id).phase is ActionPhase.SUCCEEDED


def test_what_is_not_decided_is_left_to_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is what may wait for a server, as a cached task."""
    lab = lab_of(2)
    first, second = drawn(lab)
    undecided = lambda action: (DONE, Write(action=action, original=action))  # noqa: E731  # a round
    monkeypatch.setattr(lab.reconciler, "round", undecided)
    assert told(lab, [first]) == (R,)
    monkeypatch.undo()
    monkeypatch.setattr(lab.engine.stepper, "is_inline", lambda _: False)
    assert told(lab, [second]) == (R,)


def test_only_as_many_as_may_be_reconciled_at_a_time() -> None:
    """The others are left to steps; none waits for a slot."""
    lab = lab_of(2)
    records = drawn(lab)
    lab.engine.stepper.limit(1)
    assert told(lab, records) == (W, R)
    lab.engine.stepper.slots.take(1, 0)
    assert told(lab, records[1:]) == (R,)


def test_a_decision_that_cannot_be_stored_costs_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the outcomes are stored alone."""
    lab = lab_of(2)
    records = drawn(lab)
    play = lab.reconciler.round

    def odd(action: TaskAction) -> Any:
        result, write = play(action)
        if action.id == records[0].id:
            write.action.set_status(plugin_phase="\ud800")
        return result, write

    monkeypatch.setattr(lab.reconciler, "round", odd)
    assert told(lab, records) == (R, R)
    assert all(lab.get(record.id).attempt.outcome for record in records)


def test_a_store_that_is_away_is_told_again() -> None:
    """The caller hears of it and repeats the call, while others may step; what was applied by then is not done twice."""
    lab = lab_of()
    [record] = drawn(lab)

    def twice(call: Callable[[], ConcludeReport]) -> ConcludeReport:
        assert call().endings == (W,)
        assert lab.engine.stepper.slots.taken == 0
        return call()

    assert told(lab, [record], tell=twice) == (W,)
    assert [event.phase for event in lab.events(record.id)].count(ActionPhase.SUCCEEDED) == 1


def test_an_outage_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows how long to try."""
    lab = lab_of()
    [record] = drawn(lab)

    def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(lab.store, "conclude", away)
    with pytest.raises(StoreUnavailable):
        told(lab, [record])
    assert lab.get(record.id).attempt.outcome is None
    assert lab.engine.stepper.slots.taken == 0


def test_what_follows_a_commit_takes_no_outcome_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is stored; what was not sent is found by the resync sweep."""
    lab = lab_of()
    [record] = drawn(lab)

    def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(lab.engine.stepper, "accept", away)
    assert told(lab, [record]) == (W,)
    assert lab.get(record.id).phase is ActionPhase.SUCCEEDED


def test_others_that_are_due_are_looked_at() -> None:
    """As after a step of named actions; what was only recorded is driven by the caller, who is told."""
    lab = lab_of(2)
    first, second = drawn(lab)
    lab.messenger.wakes.clear()
    lab.store.wake([second.id])
    lab.clock.advance(timedelta(seconds=4))  # the message that was asked for is overdue
    assert told(lab, [first]) == (W,)
    assert [wake.shard for wake in lab.messenger.wakes] == [0]


def test_another_workers_launch_is_superseded() -> None:
    """Nothing is written of it."""
    lab = lab_of()
    [record] = drawn(lab)
    done = Finished(record.id, "1", RETURNED)
    ended = [Ended(record, done, lab.clock())]
    assert conclude(lab.engine.stepper, 0, "other", ended, once) == (S,)
    assert not lab.get(record.id).phase.is_terminal()

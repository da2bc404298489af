"""Actions that have ended before they begin: outputs of an earlier run were taken over."""

from __future__ import annotations

import msgspec
import pytest
from support import (
    RUN,
    PassTime,
    claim,
    claimed,
    created,
    due_time,
    finish,
    get,
    make_action,
    shard_of,
)

from reconciler.api.action import Children, Signal, TaskAction
from reconciler.api.event import OUTPUTS_FILE
from reconciler.api.lineage import Lineage
from reconciler.api.phase import ActionPhase
from reconciler.api.status import ActionStatus
from reconciler.api.transition import OutputRef
from reconciler.core.status_conditions import recovered
from reconciler.stores.base import CreateOutcome, Store

LINEAGE = Lineage("recover", "p/d/old@abc", ("p/d/older@def",))
SOURCE = "p/d/old@abc/a0"


def take_over(store: Store, name: str, parent: str | None = None, *, condition: bool = False) -> TaskAction:
    """Return an action whose outputs are taken over."""
    action = make_action(name, parent=parent, condition=condition)
    ref = OutputRef(uri=f"s3://bucket/x/{OUTPUTS_FILE}", sha256="f" * 64, size=3)
    action.status = recovered(ActionStatus(outputs=ref), SOURCE, store.now())
    action.set_metadata(lineage=LINEAGE)
    return action


def test_it_ends_with_its_first_event(store: Store) -> None:
    """It is recovered from the start, says from where, has its outputs and one event, and is never due."""
    action = take_over(store, "a0")
    report = store.create([action])
    assert (report.outcomes[0].outcome, report.wake) == (CreateOutcome.CREATED, ())
    record = get(store, action)
    assert (record.phase, record.is_terminal, record.events) == (ActionPhase.RECOVERED, True, 1)
    assert record.status == action.status
    assert record.metadata.lineage == LINEAGE
    assert record.metadata.completed_at == record.metadata.creation_timestamp
    [event] = store.events(action.id)
    assert (event.phase, event.final, event.output_prefix) == (ActionPhase.RECOVERED, True, "s3://bucket/x")
    assert [reason.message for reason in event.cluster_events] == [f"taken over from {SOURCE}"]
    assert due_time(store, action) is None
    assert claim(store, action).actions == []
    counts = store.counts(RUN)
    assert counts is not None
    assert {p: n for p, n in counts.phases.items() if n} == {ActionPhase.RECOVERED: 1}


def test_a_parent_that_comes_later_finds_it(store: Store) -> None:
    """It is stored before its parent, which counts it among its children, none of them open."""
    created(store, take_over(store, "m0", "a0"), take_over(store, "m1", "a0"))
    root = make_action("a0")
    root.set_metadata(lineage=LINEAGE)
    root.children = Children(2)
    created(store, root)
    created(store, make_action("m2", parent="a0"))
    record = claimed(store, root)
    assert (record.children, record.phase) == (Children(3, 1, 0), ActionPhase.QUEUED)
    assert record.metadata.lineage == LINEAGE


def test_it_comes_below_a_parent_that_has_ended(store: Store) -> None:
    """Nobody waits for it, so what became of its parent is nothing to it."""
    created(store, take_over(store, "a0"), take_over(store, "m0", "a0"))
    [answer] = store.create([make_action("m1", parent="a0")]).outcomes
    assert answer.outcome is CreateOutcome.PARENT_ENDED


def test_the_same_again_changes_nothing(store: Store) -> None:
    """A submitter that died half way may begin again."""
    action = take_over(store, "m0", "a0")
    created(store, action)
    assert store.create([action]).outcomes[0].outcome is CreateOutcome.EXISTS
    assert len(store.events(action.id)) == 1


def test_an_answer_is_taken_over(store: Store) -> None:
    """A recovered condition has its answer, and takes no other one."""
    action = take_over(store, "ask", condition=True)
    action.signal = Signal(value=True, by="ada", at=5)
    created(store, action)
    assert get(store, action).signal == action.signal
    assert store.signal(action.id, Signal(value=True)).value == "same value before"
    assert store.signal(action.id, Signal(value=False)).value == "other value before"


def test_it_is_forgotten_as_any_other(store: Store, pass_time: PassTime) -> None:
    """After its retention it goes, with what is kept of its run; not while somebody above it is kept."""
    root = make_action("a0")
    root.set_metadata(lineage=LINEAGE)
    root.children = Children(1)
    created(store, take_over(store, "m0", "a0"), root)
    pass_time(5)
    shard = shard_of(store, root)
    assert store.collect(shard, before=store.now(), limit=10).deleted == ()
    finish(store, root)
    pass_time(5)
    assert len(store.collect(shard, before=store.now(), limit=10).deleted) == 2
    assert store.counts(RUN) is None


def test_nothing_is_stored_too_late(store: Store) -> None:
    """Once the time has passed for which the source was held, nothing that points to it is stored."""
    now = store.now()
    late = store.create([take_over(store, "m0", "a0"), make_action("a0")], until=now - 1)
    assert {one.outcome for one in late.outcomes} == {CreateOutcome.NOT_HELD}
    assert store.counts(RUN) is None
    assert store.create([make_action("a0")], until=now + 60_000).outcomes[0].outcome is CreateOutcome.CREATED
    assert store.create([make_action("a0")], until=now - 1).outcomes[0].outcome is CreateOutcome.EXISTS


@pytest.mark.parametrize("outputs", [None, OutputRef(uri="s3://bucket/elsewhere")])
def test_an_event_names_no_folder_there_is_not(store: Store, outputs: OutputRef | None) -> None:
    """Without outputs, or with some that lie otherwise, its event says nothing of where they lie."""
    action = take_over(store, "a0")
    action.status = msgspec.structs.replace(action.status, outputs=outputs)
    created(store, action)
    assert store.events(action.id)[0].outputs is None

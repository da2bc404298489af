"""Finalizers of other controllers: ours is put beside them, and theirs outlive whatever we do."""

from __future__ import annotations

import pytest
from support import (
    PassTime,
    claim,
    claimed,
    committed,
    created,
    due_time,
    get,
    make_action,
    phase_write,
    success_write,
)

from reconciler.api.action import FINALIZER, Deletion, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import Store, Write

OTHER = "example.org/billing"
PREFIXED = f"{FINALIZER}-of-somebody-else"


def guarded(
    name: str = "a0", *, parent: str | None = None, finalizers: tuple[str, ...] = (OTHER,)
) -> TaskAction:
    """Return a submission another controller watches over."""
    action = make_action(name, parent=parent)
    action.set_metadata(finalizers=finalizers)
    return action


def without_ours(write: Write) -> Write:
    """Return the same write, which drops our finalizer and keeps the others."""
    kept = tuple(f for f in write.original.metadata.finalizers if f != FINALIZER)
    write.action.set_metadata(finalizers=kept)
    return write


@pytest.mark.rule("R24")
@pytest.mark.parametrize("others", [(OTHER,), (PREFIXED,), (OTHER, PREFIXED)])
def test_a_task_gets_ours_beside_those_of_others(store: Store, others: tuple[str, ...]) -> None:
    """Somebody else's finalizer is none of ours, whatever it is called: clean-up is owed before anything is launched."""
    action = guarded(finalizers=others)
    created(store, action)
    assert get(store, action).metadata.finalizers == others
    assert claimed(store, action).metadata.finalizers == (*others, FINALIZER)
    assert get(store, action).metadata.finalizers == (*others, FINALIZER)


def test_ours_is_added_once(store: Store, pass_time: PassTime) -> None:
    """A second claim finds it there."""
    action = guarded()
    created(store, action)
    claimed(store, action)
    pass_time(1_001)
    assert claimed(store, action).metadata.finalizers == (OTHER, FINALIZER)


@pytest.mark.rule("R38")
def test_an_end_keeps_those_of_others(store: Store) -> None:
    """An ended action whose clean-up is paid is not looked at again, and the other controller's finalizer stays."""
    action = guarded()
    created(store, action)
    committed(store, without_ours(success_write(claimed(store, action), keep_finalizer=True)))
    record = get(store, action)
    assert (record.metadata.finalizers, record.token, record.phase) == ((OTHER,), 0, ActionPhase.SUCCEEDED)
    assert claim(store, action).actions == []
    store.wake([action.id])
    assert claim(store, action).actions == []
    assert due_time(store, action) is None


@pytest.mark.rule("R38")
def test_an_abort_keeps_those_of_others(store: Store) -> None:
    """An abort before the first step owes nothing of ours, and ends with theirs in place."""
    action = guarded()
    created(store, action)
    store.request_abort(action.id, Deletion(reason="no"))
    record = claimed(store, action)
    assert record.metadata.finalizers == (OTHER,)
    committed(store, without_ours(phase_write(record, ActionPhase.ABORTED, keep_finalizer=True)))
    assert get(store, action).metadata.finalizers == (OTHER,)
    assert get(store, action).phase is ActionPhase.ABORTED


@pytest.mark.rule("R40")
def test_an_end_above_open_children_owes_ours_beside_theirs(store: Store) -> None:
    """The round that ends the children is owed, and nothing of others is written over."""
    parent, child = guarded(), make_action("m0", parent="a0")
    created(store, parent, child)
    committed(store, without_ours(success_write(claimed(store, parent), keep_finalizer=True)))
    assert get(store, parent).metadata.finalizers == (OTHER, FINALIZER)
    assert claim(store, parent).actions[0].children.open == 1


@pytest.mark.rule("R42")
def test_what_another_controller_guards_is_kept(store: Store, pass_time: PassTime) -> None:
    """The collector forgets no record somebody else still has to clean up after."""
    action = guarded()
    shard = created(store, action)
    committed(store, without_ours(success_write(claimed(store, action), keep_finalizer=True)))
    pass_time(5)
    for _ in range(2):
        assert store.collect(shard, before=store.now(), limit=10).deleted == ()
        assert claim(store, action).actions == []
    assert get(store, action).metadata.finalizers == (OTHER,)

"""What a store keeps is its own: nobody changes it through a value that was handed in, or out."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import inspect
from support import RUN, claimed, committed, created, event, get, make_action, phase_write, shard_of

from reconciler.api.action import ActionSpec, AttemptOutcome, Metadata, Signal
from reconciler.api.event import ActionEvent, AuditEntry
from reconciler.api.phase import ActionPhase
from reconciler.api.status import ActionStatus
from reconciler.stores.base import Store

pytestmark = pytest.mark.rule("R11")
MUTABLE = (inspect.DictType, inspect.ListType, inspect.SetType, inspect.AnyType, inspect.CustomType)


def test_what_was_handed_in_changes_nothing(store: Store) -> None:
    """A caller that goes on to use the values of its submission or write changes no record and no event."""
    action = make_action(env={"A": "1"})
    created(store, action)
    action.spec.env_vars["A"] = "2"
    write = phase_write(claimed(store, action), ActionPhase.RUNNING, due=store.now())
    write.metadata = True
    write.action.set_metadata(extra_labels={"team": "a"}, annotations={"note": "a"})
    told = event(write.original, ActionPhase.RUNNING)
    write.events = [msgspec.structs.replace(told, log_context={"pod": "a"}, cache_metadata={"k": ["a"]})]
    committed(store, write)
    write.action.metadata.extra_labels["team"] = "b"
    write.action.metadata.annotations["note"] = "b"
    kept = write.events[0]
    assert kept.log_context is not None
    assert kept.cache_metadata is not None
    kept.log_context["pod"] = "b"
    kept.cache_metadata["k"].append("b")
    record, last = get(store, action), store.events(action.id)[-1]
    assert record.spec.env_vars == {"A": "1"}
    assert (record.metadata.extra_labels, record.metadata.annotations) == ({"team": "a"}, {"note": "a"})
    assert (last.log_context, last.cache_metadata) == ({"pod": "a"}, {"k": ["a"]})


def test_what_was_handed_out_changes_nothing(store: Store) -> None:
    """A reader that changes what it was given, to show it or by mistake, changes no record and no event."""
    action = make_action(env={"A": "1"})
    created(store, action)
    write = phase_write(claimed(store, action), ActionPhase.RUNNING, due=store.now())
    told = event(write.original, ActionPhase.RUNNING)
    write.events = [msgspec.structs.replace(told, log_context={"pod": "a"}, cache_metadata={"k": ["a"]})]
    committed(store, write)
    shard, reads = shard_of(store, action), 2
    for _ in range(reads):
        for record in (get(store, action), store.list_actions(RUN).actions[0]):
            assert (record.spec.env_vars, record.metadata.extra_labels) == ({"A": "1"}, {})
            assert (record.metadata.annotations, record.unknown) == ({}, {})
            record.spec.env_vars["A"] = "2"
            record.metadata.extra_labels["team"] = "b"
            record.metadata.annotations["note"] = "b"
            record.unknown["status"] = {}
            record.set_status(attempts=7)
        for last in (store.events(action.id)[-1], store.channel(shard)[-1].event):
            assert (last.log_context, last.cache_metadata) == ({"pod": "a"}, {"k": ["a"]})
            assert last.log_context is not None
            assert last.cache_metadata is not None
            last.log_context["pod"] = "b"
            last.cache_metadata["k"].append("b")
    assert get(store, action).status.attempts == 1


def test_an_event_without_a_report_time_was_reported_when_it_happened(store: Store) -> None:
    """Readers always find both times, whether or not the writer named both."""
    action = make_action()
    created(store, action)
    write = phase_write(claimed(store, action), ActionPhase.RUNNING, due=store.now())
    told = event(write.original, ActionPhase.RUNNING)
    write.events = [msgspec.structs.replace(told, updated_time=7, reported_time=0)]
    committed(store, write)
    last = store.events(action.id)[-1]
    assert (last.updated_time, last.reported_time) == (7, 7)


@pytest.mark.parametrize("part", [ActionSpec, ActionStatus, Metadata, Signal, AttemptOutcome, AuditEntry])
def test_parts_that_are_handed_out_cannot_change(part: type[msgspec.Struct]) -> None:
    """The twin hands parts of a record out as they are; so none has a part that can change but those it copies."""
    copied = {"env_vars", "extra_labels", "annotations"}
    found = [
        f"{cls.__name__}.{field.name}"
        for cls in structs(inspect.type_info(part))
        for field in inspect.type_info(cls).fields  # type: ignore[attr-defined]  # of a struct
        if any(isinstance(one, MUTABLE) for one in parts(field.type)) and field.name not in copied
    ]
    assert found == [], f"{found} can change: copy them in Record.view"
    assert all(cls.__struct_config__.frozen for cls in structs(inspect.type_info(part)))


def parts(kind: inspect.Type) -> list[inspect.Type]:
    """List a type and those it is made of, structs as a whole."""
    below = [getattr(kind, "item_type", None), *getattr(kind, "types", ()), *getattr(kind, "item_types", ())]
    return [kind, *(deeper for one in below if one is not None for deeper in parts(one))]


def structs(kind: inspect.Type) -> set[type[msgspec.Struct]]:
    """Find all struct types a type is made of."""
    found: set[type[msgspec.Struct]] = set()
    todo = parts(kind)
    while todo:
        one = todo.pop()
        if isinstance(one, inspect.StructType) and one.cls not in found:
            found.add(one.cls)
            todo += [deeper for field in one.fields for deeper in parts(field.type)]
    return found


def test_the_search_finds_what_can_change() -> None:
    """An event, which is copied as a whole, has parts that can change, and the search names them."""
    found = {
        field.name
        for cls in structs(inspect.type_info(ActionEvent))
        for field in inspect.type_info(cls).fields  # type: ignore[attr-defined]  # of a struct
        if any(isinstance(one, MUTABLE) for one in parts(field.type))
    }
    assert {"log_context", "cache_metadata"} <= found

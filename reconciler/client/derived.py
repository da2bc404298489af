"""Builds the records of a run that is made of another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from reconciler.api.action import ActionSpec, Children, Metadata, RunId, TaskAction, record_name
from reconciler.api.errors import InvalidArguments, InvalidSpec, ReadFailed, SourceUnusable
from reconciler.api.lineage import Lineage, Verb
from reconciler.api.schedule import Schedule
from reconciler.api.status import ActionStatus
from reconciler.api.template import template_or_none
from reconciler.client.door import Door
from reconciler.client.fork_inputs import check_changed
from reconciler.client.sources import SourceRun, objects_of
from reconciler.core.derivation import Plan
from reconciler.core.inheritance import with_inputs_hash
from reconciler.core.layout import is_default_base
from reconciler.core.status_conditions import recovered
from reconciler.plugins.group_config import GROUPS
from reconciler.stores.base import Store
from reconciler.stores.objects import BlobStore
from reconciler.stores.outputs import read_inputs

_PLACE = ("project", "domain", "run_name", "action_name", "parent_action_name", "env_vars")
"""What another spec does not change."""


class Changes(msgspec.Struct, frozen=True):
    """The changes of a fork, by the names of actions.

    Attributes:
        inputs: values of inputs that are other ones.
        specs: other specs, of other code above all; the place in the tree stays.
        again: what runs again as it is, although it succeeded.
    """

    inputs: Mapping[str, Mapping[str, Any]] = {}
    specs: Mapping[str, ActionSpec] = {}
    again: Collection[str] = ()

    @property
    def names(self) -> list[str]:
        """All actions that are named."""
        return list(dict.fromkeys([*self.inputs, *self.specs, *self.again]))


NO_CHANGES = Changes()


def changes_of(inputs: Any, specs: Any, again: Any) -> Changes:  # noqa: ANN401  # from users whom no type checker helps
    """Read the changes of a fork.

    Raises:
        InvalidArguments: they are of another form, as a text, of which each letter would be a name.
    """
    by_name = isinstance(inputs, Mapping) and all(isinstance(each, Mapping) for each in inputs.values())
    if not by_name:
        raise InvalidArguments(f'give inputs by name, as {{"a0": {{"width": 64}}}}, got {inputs!r:.200}')
    if not (isinstance(specs, Mapping) and all(isinstance(each, ActionSpec) for each in specs.values())):
        raise InvalidArguments(f'give specs as {{"a0": task.spec(…)}}, got {specs!r:.200}')
    names = isinstance(again, Collection) and not isinstance(again, (str, bytes))
    if not (names and all(isinstance(each, str) for each in again)):
        raise InvalidArguments(f'give again a list of names of actions, as ["a0"], got {again!r:.200}')
    return Changes(inputs, specs, tuple(again))


class Maker:
    """Makes the records of one run.

    Args:
        verb: how it is made.
        source: of which run.
        holder: the run that is made.
        changes: what it does otherwise.
        store: knows what functions take, and the time.
    """

    def __init__(self, verb: Verb, source: SourceRun, holder: RunId, changes: Changes, store: Store) -> None:
        self._verb = verb
        self._source = source
        self._holder = holder
        self._changes = changes
        self._store = store
        self._now = store.now()

    def actions(
        self, plan: Plan, door: Door, blobs: BlobStore, limit: int
    ) -> tuple[list[TaskAction], list[TaskAction]]:
        """Make the records: those taken over, and those that run again.

        Args:
            plan: which is which.
            door: accepts what runs again.
            blobs: hold inputs that are changed in part.
            limit: largest object that is read, in bytes.

        Raises:
            InvalidName, InvalidSpec, InvalidArguments: a change cannot be accepted.
            SourceUnusable: inputs that are to be changed cannot be read.
        """
        children = Counter(record.spec.parent_action_name for record in plan.reused)
        again = []
        for record in plan.again:
            spec = msgspec.structs.replace(self._changed(record, blobs, limit), run_name=self._holder.run)
            metadata = record.metadata
            plan_of = Schedule(priority=metadata.priority, fair_key=metadata.fair_key)
            action = door.admit(with_inputs_hash(spec), metadata.extra_labels, metadata.annotations, plan_of)
            action.set_metadata(lineage=self._lineage(record))
            action.children = Children(children[record.id.action])
            again.append(action)
        return [self._reused(record) for record in plan.reused], again

    def _reused(self, record: TaskAction) -> TaskAction:
        action, base = self._holder.action(record.id.action), record.spec.run_output_base
        spec = msgspec.structs.replace(
            record.spec, run_name=self._holder.run, run_output_base="" if is_default_base(base) else base
        )
        metadata = Metadata(
            namespace=record.metadata.namespace,
            name=record_name(action, spec),
            extra_labels=record.metadata.extra_labels,
            annotations=record.metadata.annotations,
            lineage=self._lineage(record),
        )
        status = ActionStatus(outputs=record.status.outputs, cache_status=record.status.cache_status)
        told = recovered(status, f"{self._source.life}/{record.id.action}", self._now)
        return TaskAction(action, spec, told, metadata, signal=record.signal, children=record.children)

    def _lineage(self, record: TaskAction) -> Lineage:
        life, name = self._source.life, record.id.action
        objects = tuple(str(each) for each in objects_of(record, life))
        changed = name in self._changes.inputs or name in self._changes.specs
        return Lineage(self._verb, str(life), objects, changed)

    def _changed(self, record: TaskAction, blobs: BlobStore, limit: int) -> ActionSpec:
        name, old = record.id.action, record.spec
        if name in self._changes.specs:
            place = {field: getattr(old, field) for field in _PLACE}
            return msgspec.structs.replace(self._changes.specs[name], **place)
        if name not in self._changes.inputs:
            return old
        if old.task_type in {"", *GROUPS}:
            raise InvalidSpec(f"the action {name} is no task of its own: give other inputs to those below it")
        try:
            document = msgspec.json.decode(read_inputs(blobs, old, limit=limit))
        except ReadFailed as error:
            raise SourceUnusable(
                f"{record.id} cannot be forked with only some inputs changed: {error}"
            ) from error
        values = self._changes.inputs[name]
        inputs = _merged(record, document, values)
        check_changed(self._store, record, inputs, values)
        if inputs == msgspec.json.encode(document):
            raise InvalidArguments(
                f"the inputs of {record.id} would be what they were, since what is left out keeps its value: give one that "
                "differs; `reconciler rerun` makes all again, and `reconciler recover` what did not succeed"
            )
        return msgspec.structs.replace(old, inputs=inputs, input_uri="", inputs_digest="", inputs_hash="")


def _merged(record: TaskAction, document: object, values: Mapping[str, Any]) -> bytes:
    if not isinstance(document, dict):
        raise InvalidSpec(
            f"the inputs of {record.id} are no JSON object, so none of them can be changed by name"
        )
    template = template_or_none(record)
    interface = template.interface if template else None
    known = {*document, *(interface.inputs if interface else ())}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InvalidArguments(
            f"{record.id} has no input {unknown[0]!r:.80}: name one of {', '.join(sorted(known)) or 'none'}"
        )
    try:
        return msgspec.json.encode({**document, **values})
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidArguments(f"the new inputs of {record.id} must be JSON values: {error}") from error

"""Compare the interfaces that functions have now with those that actions of an ended run were submitted with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reconciler.api.action import TaskAction
from reconciler.api.errors import BadTaskSpecification, InvalidSpec, ReadFailed, SourceUnusable
from reconciler.api.template import TaskTemplate, shared_template
from reconciler.client.door import Door
from reconciler.core.functions import interface_digest
from reconciler.core.published import read_published
from reconciler.core.signature import Signature
from reconciler.plugins.function_config import config_of
from reconciler.stores.base import Store
from reconciler.stores.objects import BlobStore
from reconciler.stores.outputs import read_inputs


class _Changed(NamedTuple):
    """A function whose living workers all have another interface than actions of the source."""

    name: str
    queue: str
    records: list[TaskAction]


class Interfaces:
    """Knows which functions have another interface now.

    Args:
        store: where workers tell what they have.
        blobs: hold large inputs.
        door: knows the queue of a task.
        limit: largest object that is read, in bytes.
    """

    def __init__(self, store: Store, blobs: BlobStore, door: Door, limit: int) -> None:
        self._store = store
        self._blobs = blobs
        self._door = door
        self._limit = limit

    def check_results(self, records: Iterable[TaskAction]) -> None:
        """Refuse results of a function that has another interface now: they may not fit.

        Raises:
            SourceUnusable: one has.
        """
        for changed in self._changed(records):
            first = changed.records[0]
            rerun = "" if self._misfit(changed) else f"run `reconciler rerun {first.id.run_id}`, or "
            raise SourceUnusable(
                f"the function {changed.name} has another interface now than {first.id} was submitted with, so its "
                f"results may not fit: {rerun}submit it anew, or start a worker of the queue {changed.queue} that has the "
                "old one. In Python, `Client.fork` takes new `specs`"
            )

    def check_inputs(self, records: Iterable[TaskAction]) -> None:
        """Refuse stored inputs that do not fit the interface a function has now, as far as workers publish it.

        Raises:
            SourceUnusable: some do not.
        """
        for changed in self._changed(records):
            misfit = self._misfit(changed)
            if misfit:
                raise SourceUnusable(
                    f"the function {changed.name} has another interface now, and {misfit}. Submit it anew with what fits, "
                    f"or start a worker of the queue {changed.queue} that has the old one"
                )

    def _changed(self, records: Iterable[TaskAction]) -> Iterator[_Changed]:
        kinds: dict[tuple[str, bytes], list[TaskAction]] = {}
        for record in records:
            kinds.setdefault((record.spec.task_type, record.spec.task_template), []).append(record)
        for (task_type, data), alike in kinds.items():
            queue = self._door.queue_of(task_type, data)
            if not queue:
                continue
            template = shared_template(data)
            name = config_of(template.custom).function
            wanted, known = _digest(template), self._store.find_function(queue, name)
            if wanted and known.digests and wanted not in known.digests:
                yield _Changed(name, queue, alike)

    def _misfit(self, changed: _Changed) -> str:
        """Say which stored inputs do not fit, and why; empty when all do, or nobody can tell."""
        signature = self._published(changed.name)
        if signature is None:
            return ""
        for record in changed.records:
            try:
                problem = signature.problem_of(read_inputs(self._blobs, record.spec, limit=self._limit))
            except ReadFailed:  # who uses them says so
                continue
            if problem:
                return f"the inputs of {record.id} do not fit: {problem}"
        return ""

    def _published(self, name: str) -> Signature | None:
        try:
            found = self._store.find_published(name)
            return read_published(name, found.document)[1] if found.document else None
        except (BadTaskSpecification, InvalidSpec):
            return None


def _digest(template: TaskTemplate) -> str:
    """Return the digest of the interface a template was made for; empty when the template does not say."""
    interface = template.interface
    if interface is None or not (interface.inputs or interface.outputs):
        return ""
    return interface_digest(interface.inputs, interface.outputs, template.secrets)

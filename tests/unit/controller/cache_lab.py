"""A lab with a cache, and tasks that can be cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fake_catalog import FakeCatalog

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.errors import StoreUnavailable
from reconciler.api.template import (
    Identifier,
    Interface,
    RetryStrategy,
    TaskMetadata,
    TaskTemplate,
    encode_template,
)
from reconciler.api.transition import PhaseInfo, TaskInfo, success
from reconciler.plugins.context import TaskExecutionContext
from reconciler.stores.catalog import CacheEntry
from reconciler.testing import Lab, ScriptedPlugin

INTERFACE = Interface(inputs={"x": "int"}, outputs={"o0": "int"})
DOWN = StoreUnavailable("the catalog does not answer")
FAR = "s3://memory/far"
OUTPUTS = b'{"o0":1}'


def returning(data: bytes = OUTPUTS) -> Callable[[TaskExecutionContext], PhaseInfo]:
    """Return an answer: write these outputs and succeed."""

    def answer(ctx: TaskExecutionContext) -> PhaseInfo:
        ref = ctx.files.write_outputs(data, 4096)
        return success(TaskInfo(occurred_at=ctx.now, outputs=ref))

    return answer


class CacheLab(Lab):
    """A lab whose plugin `cached` answers as scripted, with the catalog `shelf`."""

    def __init__(self, *answers: Any, max_age: int = 0, **settings: Any) -> None:
        self.plugin = ScriptedPlugin("cached", *(answers or (returning(),)))
        self.shelf = FakeCatalog(self._time, max_age=max_age)
        super().__init__([self.plugin], catalog=self.shelf, **settings)
        self.shelf.blobs = self.blobs

    def _time(self) -> int:
        return self.clock()

    def call(self, x: Any = 1, *, serializable: bool = False, retries: int = 0, **spec: Any) -> ActionId:
        """Submit one call of a task that is cached."""
        interface = spec.pop("interface", INTERFACE)
        policy = TaskMetadata(
            discoverable=True,
            cache_serializable=serializable,
            cache_ignore_input_vars=spec.pop("ignored", ()),
            retries=RetryStrategy(retries=retries),
        )
        return self.submit("cached", metadata=policy, interface=interface, inputs={"x": x}, **spec)

    def call_by_reference(self, *, serializable: bool = False) -> ActionId:
        """Submit a call whose inputs lie in S3, put there by somebody who computed no hash of them."""
        policy = TaskMetadata(discoverable=True, cache_serializable=serializable)
        template = TaskTemplate(
            id=Identifier(project="default", domain="development", name="cached"),
            type="cached",
            metadata=policy,
            interface=INTERFACE,
        )
        digest = self.blobs.put(f"{FAR}/inputs.pb", b'{"x":1}')
        spec = ActionSpec(
            task_type="cached",
            task_template=encode_template(template),
            input_uri=FAR,
            inputs_digest=digest,
        )
        return self.run(spec).action

    def asked(self, what: str) -> int:
        """Count how often a verb of the catalog was called."""
        return len(self.journal.of(f"cache.{what}"))

    @property
    def entry(self) -> CacheEntry:
        """The only entry of the catalog."""
        (entry,) = self.shelf.entries.values()
        return entry


def filled(lab: CacheLab, x: object = 1) -> ActionId:
    """Run one call to its end, so that its key is filled."""
    action = lab.call(x)
    lab.settle()
    lab.journal.clear()
    lab.plugin.handled.clear()
    return action

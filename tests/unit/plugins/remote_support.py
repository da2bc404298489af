"""A service outside, and a plugin that works with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.template import RetryStrategy, TaskMetadata, TaskTemplate, encode_template
from reconciler.api.transition import PhaseInfo, running
from reconciler.controller.round import round_on
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.managers import NO_CAPS, Constraints
from reconciler.plugins.registry import PluginEntry
from reconciler.plugins.remote import Created, RemotePlugin
from reconciler.plugins.remote_state import RemoteConfig, RemoteState
from reconciler.testing import Lab

RESYNC = 30_000
TASK_TYPE = "warehouse"


class Query(msgspec.Struct):
    """How the service calls a piece of work."""

    number: int


class Service:
    """Runs queries by key; survives our workers.

    Attributes:
        numbers: number of the query of each key.
        says: what it says of every query.
        calls: what it was asked, in order.
        errors: raised by the next calls of a verb, in order; None answers.
    """

    def __init__(self, says: PhaseInfo | None = None) -> None:
        self.numbers: dict[str, int] = {}
        self.says = says or running(0)
        self.calls: list[str] = []
        self.errors: dict[str, list[Exception | None]] = {}

    def note(self, verb: str, about: object) -> None:
        """Note a call."""
        self.calls.append(f"{verb} {about}")
        waiting = self.errors.get(verb)
        error = waiting.pop(0) if waiting else None
        if error is not None:
            raise error

    def create(self, key: str) -> int:
        """Return the query of a key; the same one when asked again."""
        number = self.numbers.setdefault(key, len(self.numbers) + 1)
        self.note("create", number)
        return number


class Warehouse(RemotePlugin[Query, PhaseInfo]):
    """Submits queries to a service."""

    id = TASK_TYPE
    meta_type = Query

    def __init__(
        self, service: Service, config: RemoteConfig | None = None, *, quota: str = "", at_once: bool = False
    ) -> None:
        self.service = service
        self.config = config or RemoteConfig()
        self.quota = quota
        self.caps = NO_CAPS
        self.at_once = at_once
        self.entry = PluginEntry(id=self.id, task_types=(TASK_TYPE,), load=lambda: self)

    def resource_requirements(self, ctx: TaskExecutionContext) -> tuple[str, Constraints] | None:
        """Return a unit of the quota, if there is one."""
        return (self.quota, self.caps) if self.quota else super().resource_requirements(ctx)

    def create(self, ctx: TaskExecutionContext) -> Created[Query, PhaseInfo]:
        """Submit."""
        number = self.service.create(self.key(ctx))
        return Created(Query(number), self.service.says if self.at_once else None)

    def get(self, ctx: TaskExecutionContext, meta: Query) -> PhaseInfo:
        """Ask."""
        del ctx
        self.service.note("get", meta.number)
        return self.service.says

    def status(self, ctx: TaskExecutionContext, meta: Query, resource: PhaseInfo) -> PhaseInfo:
        """Return the phase as the service says."""
        del ctx, meta
        return resource

    def delete(self, ctx: TaskExecutionContext, meta: Query | None, reason: str) -> None:
        """Stop."""
        known = meta.number if meta else None
        self.service.note("delete", f"{known} {reason}")
        self.service.numbers.pop(self.key(ctx), None)


def lab_of(service: Service, *, config: RemoteConfig | None = None, **plugin: Any) -> Lab:
    """Return an installation that works with a service."""
    return Lab([Warehouse(service, config, **plugin).entry])


def submit(lab: Lab, *, retries: int = 0, backoff: timedelta = timedelta(0), **spec: Any) -> ActionId:
    """Submit one query."""
    policy = TaskMetadata(retries=RetryStrategy(retries=retries, backoff=backoff))
    template = encode_template(TaskTemplate(type=TASK_TYPE, metadata=policy))
    return lab.run(ActionSpec(task_type=TASK_TYPE, task_template=template, inputs=b"{}", **spec)).action


def state_of(lab: Lab, action: ActionId) -> RemoteState:
    """What the plugin remembers."""
    return msgspec.json.decode(lab.get(action).status.plugin_state, type=RemoteState)


def put_state(lab: Lab, action: ActionId, state: object) -> None:
    """Replace what the plugin remembers, as another version of it might have done."""
    record = lab.get(action)
    data = state if isinstance(state, bytes) else msgspec.json.encode(state)
    with round_on(lab.reconciler, record) as round:
        round.write.status = True
        record.set_status(plugin_state=data, plugin_state_version=1)


def due_in(lab: Lab, action: ActionId) -> int:
    """Return the milliseconds until the action is looked at again."""
    return dict(lab.store.due(lab.store.shard_of(action.run_id)))[action] - lab.clock()


def poll(lab: Lab, action: ActionId) -> None:
    """Move to the next look, and look."""
    lab.clock.advance(timedelta(milliseconds=max(0, due_in(lab, action))))
    lab.reconcile(action)

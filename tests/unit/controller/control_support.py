"""What the tests of the control loop share: a lab with one scripted plugin, records out of nothing, a small catalog."""

from __future__ import annotations

from typing import Any

from reconciler.api.action import ActionId, ActionSpec, Metadata, TaskAction
from reconciler.api.errors import StoreUnavailable
from reconciler.api.status_conditions import Condition, ConditionType
from reconciler.api.template import Identifier, RetryStrategy, TaskMetadata, TaskTemplate, encode_template
from reconciler.api.transition import OutputRef, PhaseInfo, TaskInfo, running, success
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.registry import PluginRegistry
from reconciler.stores.catalog import CacheEntry, CacheKey, CacheSource, CatalogMiss, Reservation
from reconciler.testing import Lab, ScriptedPlugin

TYPE = "demo"
MINUTE = 60_000
REQUEUE = 10_000
CACHED = TaskMetadata(discoverable=True, cache_serializable=True)
FULL = ActionSpec(
    run_name="run1",
    project="default",
    domain="development",
    action_name="a0",
    task_type=TYPE,
    task_template=encode_template(TaskTemplate(id=Identifier(name=TYPE), type=TYPE)),
    input_uri="inline:",
    inputs=b"{}",
    run_output_base="s3://memory/default/development/run1",
)


def retries(count: int, **strategy: Any) -> TaskMetadata:
    """Metadata of a task with so many user retries."""
    return TaskMetadata(retries=RetryStrategy(retries=count, **strategy))


def lab_of(*answers: Any, settings: dict[str, Any] | None = None, catalog: Any = None, **plugin: Any) -> Lab:
    """Return a lab whose only plugin of its own answers as told; it hangs at `lab.plugin`."""
    scripted = ScriptedPlugin(TYPE, *answers, **plugin)
    lab = Lab([scripted], catalog=catalog, **(settings or {}))
    lab.plugin = scripted  # type: ignore[attr-defined]  # tests ask the plugin what it was called with
    return lab


def running_lab(**parts: Any) -> tuple[Lab, ActionId]:
    """Return an action that runs and is asked to end."""
    lab = lab_of(running(0), **parts)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.journal.clear()
    lab.client.abort(action, "too slow", "ann")
    return lab, action


def forget_plugin(lab: Lab) -> None:
    """Forget the plugin, as after a deployment without it."""
    lab.reconciler.plugin_registry = PluginRegistry([])


def record(spec: ActionSpec = FULL, **parts: Any) -> TaskAction:
    """Return a record that is stored nowhere."""
    action = ActionId(spec.project, spec.domain, spec.run_name, spec.action_name)
    return TaskAction(action, spec, **parts)


def stored(lab: Lab, spec: ActionSpec = FULL) -> ActionId:
    """Return a record in the store that no door has looked at."""
    action = ActionId(spec.project, spec.domain, spec.run_name, spec.action_name)
    lab.store.create([TaskAction(action, spec, metadata=Metadata(namespace="flyte", name="run1-a0"))])
    return action


def condition(found: TaskAction, kind: ConditionType) -> Condition:
    """Return the condition of a type.

    Raises:
        KeyError: there is none.
    """
    return {c.type: c for c in found.status.conditions}[kind]


def history(found: TaskAction) -> list[str]:
    """Phase names of the history."""
    return [entry.phase for entry in found.status.phase_history]


def phases(lab: Lab, action: ActionId) -> list[tuple[str, int, bool]]:
    """Phase, attempt and finality of each event."""
    return [(str(e.phase), e.attempt, e.final) for e in lab.events(action)]


def outputs(ctx: TaskExecutionContext) -> PhaseInfo:
    """Return an answer that writes outputs and succeeds."""
    return success(TaskInfo(outputs=ctx.files.write_outputs(b'{"o":1}')))


def fail_commits(lab: Lab) -> None:
    """Make the store refuse, from now on, what a round has decided."""

    def commit(*_: Any) -> Any:
        raise StoreUnavailable("the store does not answer; look at its log")

    lab.store.commit = commit  # type: ignore[method-assign]  # a server that is gone


class SmallCatalog:
    """A catalog of one process: entries, and reservations that never run out."""

    def __init__(self, owner: str = "") -> None:
        self.entries: dict[CacheKey, CacheEntry] = {}
        self.owner = owner
        self.fail: dict[str, Exception] = {}

    def get(self, key: CacheKey) -> CacheEntry:
        """Return the entry, or a miss."""
        self._may_fail("get")
        if key not in self.entries:
            raise CatalogMiss(f"nothing lies under {key}")
        return self.entries[key]

    def put(
        self, key: CacheKey, refs: OutputRef, source: CacheSource, *, token: int = 0, replace: bool = False
    ) -> tuple[str, ...]:
        """Fill the key; nobody waits to be woken."""
        del token, replace
        self._may_fail("put")
        self.entries[key] = CacheEntry(outputs=refs, source=source)
        return ()

    def get_or_extend_reservation(self, key: CacheKey, owner: str, heartbeat: int) -> Reservation:
        """Return the first owner keeps it."""
        del key, heartbeat
        self._may_fail("reserve")
        self.owner = self.owner or owner
        return Reservation(owner=self.owner, token=1, expires_at=0)

    def release_reservation(self, key: CacheKey, owner: str) -> tuple[str, ...]:
        """Free, when it was theirs; nobody waits to be woken."""
        del key
        self._may_fail("release")
        if self.owner == owner:
            self.owner = ""
        return ()

    def _may_fail(self, verb: str) -> None:
        if verb in self.fail:
            raise self.fail[verb]

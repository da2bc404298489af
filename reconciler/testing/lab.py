"""A whole installation in one process: twins of the stores, a virtual clock, no Celery."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import msgspec

from reconciler.api.action import ActionId, ActionSpec, Result, TaskAction
from reconciler.api.event import ActionEvent, AuditEntry
from reconciler.api.template import Identifier, Interface, TaskMetadata, TaskTemplate, encode_template
from reconciler.api.tokens import NO_RESERVATION, ReservationToken
from reconciler.api.transition import OutputRef
from reconciler.broker.recording import RecordingMessenger
from reconciler.client import Client, Run
from reconciler.controller.ahead import StepReport
from reconciler.controller.step import Stepper
from reconciler.core.functions import registry
from reconciler.core.published import LARGEST
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.registry import PluginEntry
from reconciler.settings import Settings
from reconciler.stores.base import CommitReport, Write
from reconciler.stores.catalog import CacheEntry, CacheKey, CacheSource, Catalog, Reservation
from reconciler.stores.known import Found
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.memory.quotas import MemoryQuotas
from reconciler.stores.memory.stepping import Decided
from reconciler.stores.memory.store import MemoryStore
from reconciler.testing.clock import VirtualClock
from reconciler.testing.crash import Crash, Crashed, Crashes, WritePoint, never
from reconciler.testing.journal import Journal
from reconciler.testing.scripted import ScriptedPlugin
from reconciler.testing.worker import LabWorker
from reconciler.webhooks.recording import RecordingWebhooks
from reconciler.wiring import Engine

T = TypeVar("T")


class Lab:
    """An installation under test.

    Args:
        plugins: scripted plugins, or registry entries of real ones.
        catalog: the cache in use; None disables caching.
        seed: of all jitter.
        crash: at which writes the worker dies; a fresh one goes on with the same stores (`every_crash`).
        settings: fields of `Settings` that differ from the defaults.

    Attributes:
        clock: moves only when told.
        store, blobs, messenger, quotas, catalog: the twins.
        webhooks: what conditions would have sent to their webhooks.
        engine, reconciler: the worker, built on them; with `crash` another one after each death.
        client: built on them too; it never dies.
        journal: what was called and written, in order.
        worker: plays the attempts workers.
        submitted: the actions of `submit` and `run`, in order.
    """

    def __init__(
        self,
        plugins: Sequence[ScriptedPlugin | PluginEntry] = (),
        *,
        catalog: Catalog | None = None,
        seed: int = 0,
        crash: Crash | None = None,
        **settings: Any,  # noqa: ANN401  # fields of Settings
    ) -> None:
        self.clock = VirtualClock()
        self.journal = Journal()
        self.submitted: list[ActionId] = []
        self.settings = Settings(**settings)
        self.store = JournalledStore(self.journal, self.clock, self.settings)
        self.blobs = MemoryBlobs()
        self.messenger = RecordingMessenger()
        self.webhooks = RecordingWebhooks()
        self.quotas = MemoryQuotas(clock=self.clock, lease=self.settings.quota_lease)
        self.catalog = catalog
        self._crashes = Crashes(crash or never)
        self._mortal = crash is not None
        self._rng = random.Random(seed)  # noqa: S311  # a test must repeat
        entries = [p.entry if isinstance(p, ScriptedPlugin) else p for p in plugins]
        self._plugins = [_journalled(entry, self.journal) for entry in entries]
        self.client = Client(self.store, self.blobs, self.messenger, self.settings)
        self.client.quotas = self.quotas
        self.worker = LabWorker(self)
        self._start_worker()

    def __repr__(self) -> str:
        return f"<Lab, worker died {'; '.join(map(str, self.deaths))}>" if self.deaths else "<Lab>"

    # -- the worker ------------------------------------------------------------------------------------------------
    def _start_worker(self) -> None:
        """Start a worker with an empty memory."""
        self.engine = Engine(
            self.settings,
            store=self._door("store", self.store),
            blobs=self._door("blobs", self.blobs),
            messenger=self._door("messenger", self.messenger),
            plugins=self._plugins,
            rng=self._rng,
            resource_manager=self._door("quotas", self.quotas),
            webhooks=self._door("webhooks", self.webhooks),
            catalog=self._door("catalog", JournalledCatalog(self.catalog, self.journal))
            if self.catalog
            else None,
        )
        self.reconciler = self.engine.reconciler
        if self._mortal:
            self.engine.stepper = _OneByOne(self.reconciler, self.engine.messenger)

    def _door(self, name: str, inner: T) -> T:
        return self._crashes.door(name, inner) if self._mortal else inner

    def _survive(self, call: Callable[[], T], *, wait: bool = False) -> T:
        """Call until no death interrupts it; with `wait`, each time only after the dead worker's claims have run out."""
        while True:
            try:
                return call()
            except Crashed:
                self._start_worker()
                if wait:
                    self.clock.advance(self.settings.step_lease)

    @property
    def writes(self) -> list[WritePoint]:
        """The writes of all workers, in order; kept with `crash`."""
        return self._crashes.writes

    @property
    def deaths(self) -> list[WritePoint]:
        """The points at which workers died, in order; kept with `crash`."""
        return self._crashes.deaths

    # -- submitting ------------------------------------------------------------------------------------------------
    def submit(
        self,
        task_type: str,
        *,
        inputs: dict[str, Any] | None = None,
        metadata: TaskMetadata | None = None,
        interface: Interface | None = None,
        **spec: Any,  # noqa: ANN401  # fields of ActionSpec
    ) -> ActionId:
        """Store one action of a task type and return its identity."""
        template = TaskTemplate(
            id=Identifier(project=self.settings.project, domain=self.settings.domain, name=task_type),
            type=task_type,
            metadata=metadata,
            interface=interface,
        )
        values: dict[str, Any] = {
            "task_type": task_type,
            "task_template": encode_template(template),
            "inputs": msgspec.json.encode(inputs or {}),
            **spec,
        }
        return self.run(ActionSpec(**values)).action

    def run(self, spec: ActionSpec) -> Run[Any]:
        """Submit a spec through a client. A run without a name gets the next one, so that each lab has the same."""
        name = spec.run_name or f"lab-{len(self.submitted) + 1}"
        run = self.program(lambda client: client.submit(msgspec.structs.replace(spec, run_name=name)))
        self.submitted.append(run.action)
        return run

    def program(self, call: Callable[[Client], T]) -> T:
        """Run a part of the user's program. With `crash` it dies at its writes, too, and is started again until it succeeds.

        Args:
            call: gets a new client each time; like the program itself, it must be safe to repeat.
        """
        return self._survive(lambda: call(self._mortal_client()))

    def _mortal_client(self) -> Client:
        return Client(self.engine.store, self.engine.blobs, self.engine.messenger, self.settings)

    # -- moving ----------------------------------------------------------------------------------------------------
    def reconcile(self, action: ActionId) -> Result:
        """Reconcile one action for one round and return its result."""
        return self._survive(lambda: self.reconciler.reconcile(action), wait=True)

    def step(self, action: ActionId | None = None) -> StepReport:
        """Run one step of every shard, or of the shard of one action."""
        shards = range(self.store.shards) if action is None else [self.store.shard_of(action.run_id)]
        reports = [self._survive(partial(self._step, shard)) for shard in shards]
        return StepReport(
            sum(r.claimed for r in reports),
            sum(r.committed for r in reports),
            sum(r.superseded for r in reports),
        )

    def _step(self, shard: int) -> StepReport:
        return self.engine.stepper.step(shard)

    def settle(self, limit: timedelta = timedelta(days=30), rounds: int = 10_000) -> None:
        """Step, and move the clock to the next due time, until nothing is due within `limit`. Functions do not run.

        Raises:
            AssertionError: after very many rounds something is still due: a live-lock.
        """
        self._settle(lambda: 0, limit, rounds)

    def work(self, limit: timedelta = timedelta(days=30), rounds: int = 10_000) -> None:
        """Do as `settle`, and play the attempts workers: functions run in this process as soon as they are launched.

        A function may move `clock` to take long.

        Raises:
            AssertionError: after very many rounds something is still due: a live-lock.
        """
        self._settle(self.worker.work, limit, rounds)

    def _settle(self, attempts: Callable[[], int], limit: timedelta, rounds: int) -> None:
        end = self.clock() + int(limit.total_seconds() * 1000)
        for _ in range(rounds):
            self.step()
            if attempts():
                continue
            times = [due[0][1] for shard in range(self.store.shards) if (due := self.store.due(shard, 1))]
            if not times or min(times) > end:
                return
            self.clock.move_to(min(times))
        due = [entry for shard in range(self.store.shards) for entry in self.store.due(shard, 1)]
        raise AssertionError(
            f"something is still due after {rounds} rounds: {', '.join(str(action) for action, _ in due[:5])}. Either "
            "rounds bring it no further, or it goes on for ever: give a `limit` of virtual time, or more `rounds`"
        )

    # -- queries ---------------------------------------------------------------------------------------------------
    def get(self, action: ActionId) -> TaskAction:
        """Read the record.

        Raises:
            ActionNotFound: there is none.
        """
        return self.client.get(action)

    def events(self, action: ActionId) -> list[ActionEvent]:
        """Read all events of an action."""
        return self.store.events(action)

    def audit(self) -> list[AuditEntry]:
        """Read all audit entries."""
        return [entry for shard in range(self.store.shards) for entry in self.store.audit(shard)]


class _OneByOne(Stepper):
    """A stepper without threads: the same writes in the same order each time."""

    def is_inline(self, action: TaskAction) -> bool:
        """Return true for every action."""
        del action
        return True


class JournalledStore(MemoryStore):
    """The twin, which notes what each commit wrote; its workers publish all functions of this process."""

    def __init__(self, journal: Journal, clock: VirtualClock, settings: Settings) -> None:
        super().__init__(
            clock=clock,
            shards=settings.shards,
            step_lease=settings.step_lease,
            max_countdown=settings.max_countdown,
        )
        self._journal = journal

    def decided(self, shard: int, decided: Sequence[Decided]) -> tuple[CommitReport, list[Decided]]:
        """Commit as the twin does; then note it."""
        report, applied = super().decided(shard, decided)
        for one in applied:
            self._note(one.write)
        return report, applied

    def find_published(self, function: str) -> Found:
        """Find what was published as the twin does; otherwise the function in this process."""
        found = super().find_published(function)
        here = {} if found.document else registry.published(LARGEST)
        return Found(here[function]) if function in here else Found(found.document, tuple(here))

    def _note(self, write: Write) -> None:
        action, note = write.action.id, self._journal.note
        for event in write.events:
            note("event", action, f"{event.phase} attempt {event.attempt}")
        if write.status:
            note("status", action, write.action.status.plugin_phase)
        if write.metadata and write.action.metadata.completed_at != write.original.metadata.completed_at:
            note("label", action)
        if write.metadata and write.action.metadata.finalizers != write.original.metadata.finalizers:
            note("finalizer", action, " ".join(write.action.metadata.finalizers) or "removed")
        if write.launch:
            note("launch", action, write.launch[0])


class JournalledCatalog:
    """A catalog, noting each call."""

    def __init__(self, inner: Catalog, journal: Journal) -> None:
        self._inner = inner
        self._journal = journal

    def get(self, key: CacheKey) -> CacheEntry:
        """Look an entry up."""
        self._journal.note("cache.get", key)
        return self._inner.get(key)

    def put(
        self,
        key: CacheKey,
        outputs: OutputRef,
        source: CacheSource,
        *,
        token: ReservationToken = NO_RESERVATION,
        replace: bool = False,
    ) -> tuple[str, ...]:
        """Store an entry."""
        self._journal.note("cache.put", key)
        return self._inner.put(key, outputs, source, token=token, replace=replace)

    def delete(self, key: CacheKey) -> None:
        """Delete an entry."""
        self._journal.note("cache.delete", key)
        self._inner.delete(key)

    def get_or_extend_reservation(self, key: CacheKey, owner: str, heartbeat: int) -> Reservation:
        """Reserve a key, or extend the reservation."""
        self._journal.note("cache.reserve", key, owner)
        return self._inner.get_or_extend_reservation(key, owner, heartbeat)

    def release_reservation(self, key: CacheKey, owner: str) -> tuple[str, ...]:
        """Release a reservation."""
        self._journal.note("cache.release", key, owner)
        return self._inner.release_reservation(key, owner)


def _journalled(entry: PluginEntry, journal: Journal) -> PluginEntry:
    """Wrap an entry so that its plugin notes its calls; the test still holds the plugin itself."""

    def load() -> Plugin:
        plugin = entry.load()
        if "handle" in vars(plugin):
            return plugin  # a script outlives its worker
        if isinstance(plugin, ScriptedPlugin) and not plugin.finalizes:
            plugin.__class__ = type("Unfinalized", (type(plugin),), {"finalize": Plugin.finalize})
        for name in ("handle", "abort", "finalize"):
            if name == "finalize" and type(plugin).finalize is Plugin.finalize:
                continue
            setattr(plugin, name, _noted(getattr(plugin, name), name, journal))
        return plugin

    return msgspec.structs.replace(entry, load=load)


def _noted(call: Any, name: str, journal: Journal) -> Any:  # noqa: ANN401  # wraps any of the three methods
    def noted(ctx: TaskExecutionContext) -> Any:  # noqa: ANN401  # as above
        try:
            answer = call(ctx)
        except BaseException:
            journal.note(name + "!", ctx.action.id)
            raise
        journal.note(name, ctx.action.id)
        return answer

    return noted

"""What the rooms of the reconciler share: its nine attributes, and the one write of a round."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import structlog

from reconciler import metrics
from reconciler.api.action import FINALIZER, ActionId, TaskAction
from reconciler.api.conditions import cut
from reconciler.api.errors import ActionNotFound, Superseded
from reconciler.api.event import AuditEntry
from reconciler.controller.tokens import give_back
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import Services, TaskExecutionContext
from reconciler.plugins.known import KnownFunctions
from reconciler.plugins.managers import NoopResourceManager, NoopSecretManager, ResourceManager, SecretManager
from reconciler.plugins.registry import PluginRegistry
from reconciler.plugins.state import PluginStateManager
from reconciler.settings import Settings
from reconciler.stores.base import BlobStore, CommitOutcome, Store, Write
from reconciler.stores.catalog import Catalog
from reconciler.stores.records import Scheme
from reconciler.webhooks.caller import HttpWebhooks, Webhooks

log = structlog.get_logger(__name__)


class Recorder(Protocol):
    """Takes warnings about records, for operators. Never affects a result."""

    def event(self, entry: AuditEntry) -> None:
        """Keep one entry."""
        ...


class SystemFailureLimit(int):
    """The attribute `max_system_failures` and the method `max_system_failures()` of the reconciler in one.

    As a number it is what was configured; called, it is what is in force: 3 when 0 was configured (R1).
    """

    def __call__(self) -> int:
        """The maximum in force."""
        return int(self) or 3


class ReconcilerBase:
    """Attributes and shared helpers of `TaskActionReconciler`.

    Attributes:
        store: records, due index and results channel.
        scheme: layout of the stored record; no logic uses it.
        recorder: audit sink; None is tolerated everywhere.
        plugin_registry: resolves task types.
        data_store: objects in S3.
        secret_manager: handed to plugins.
        resource_manager: handed to plugins.
        catalog_client: asynchronous catalog, handed to plugins only.
        catalog: synchronous catalog; None disables caching completely.
        max_system_failures: consecutive system failures tolerated; callable for the value in force.
        settings: everything configurable.
        rng: source of jitter.
        announce: sends a wake-up for a shard; without one the resync sweep does, later.
        webhooks: calls the webhooks of conditions.
    """

    def __init__(
        self,
        store: Store,
        plugin_registry: PluginRegistry,
        data_store: BlobStore,
        *,
        settings: Settings | None = None,
        scheme: Scheme | None = None,
        recorder: Recorder | None = None,
        secret_manager: SecretManager | None = None,
        resource_manager: ResourceManager | None = None,
        catalog_client: Any = None,  # noqa: ANN401  # handed through to plugins, never used here
        catalog: Catalog | None = None,
        max_system_failures: int | None = None,
        rng: random.Random | None = None,
        announce: Callable[[int], None] = lambda _: None,
        webhooks: Webhooks | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.store = store
        self.scheme = scheme or Scheme()
        self.recorder = recorder
        self.plugin_registry = plugin_registry
        self.data_store = data_store
        self.secret_manager = secret_manager or NoopSecretManager()
        self.resource_manager = resource_manager or NoopResourceManager()
        self.catalog_client = catalog_client
        self.catalog = catalog
        limit = self.settings.max_system_failures if max_system_failures is None else max_system_failures
        self.max_system_failures = limit
        self._installation = f"{self.settings.cluster}/{self.settings.key_prefix}"
        self._known_functions = KnownFunctions(self.store.find_function)
        self.announce = announce
        self.webhooks = webhooks or HttpWebhooks(self.settings.webhook_allow)
        self.rng = rng or random.Random()  # noqa: S311  # jitter, not secrets
        self.requeue_duration = int(self.settings.effective_requeue().total_seconds() * 1000)
        self.quota_lease = int(self.settings.quota_lease.total_seconds() * 1000)

    @property
    def services(self) -> Services:
        """What every plugin is handed: the attributes of this reconciler as they are now."""
        return Services(
            data_store=self.data_store,
            secret_manager=self.secret_manager,
            resource_manager=self.resource_manager,
            catalog_client=self.catalog_client,
            stop_attempt=lambda action, reason: self.store.stop_attempt(
                action.id, reason, incarnation=action.metadata.incarnation
            ),
            find_function=self._known_functions,
            object_limit=self.settings.max_object_size,
            requeue=self.requeue_duration,
            installation=self._installation,
        )

    @property
    def max_system_failures(self) -> SystemFailureLimit:
        """As configured; called, the value in force."""
        return self._max_system_failures

    @max_system_failures.setter
    def max_system_failures(self, configured: int) -> None:
        self._max_system_failures = SystemFailureLimit(configured)

    # -- one round, one write --------------------------------------------------------------------------------------
    def now(self, action: TaskAction) -> int:
        """The store's time of the round; asked for when there is no round."""
        return action.now or self.store.now()

    @contextmanager
    def writing(self, action: TaskAction) -> Iterator[Write]:
        """The write of the round in progress; outside a round, a write of its own that is committed at once.

        A method called on a record that was merely read claims the newest version, changes only what the method says,
        and commits under the token of that claim: the conflict retry of R6 without its lost updates.

        Raises:
            ActionNotFound: the record is gone.
            Superseded: somebody else holds the action, or it has ended.
        """
        if action.staged is not None:
            yield action.staged
            return
        claimed = self.claim_one(action.id)
        action.token, action.events, action.now = claimed.token, claimed.events, claimed.now
        action.metadata, action.phase = claimed.metadata, claimed.phase
        write = Write(action=action, original=claimed)
        action.staged = write
        try:
            yield write
        except Exception:
            # nothing is written, and nobody has to wait for the end of the lease
            self.commit_one(Write(action=claimed, original=claimed, due=claimed.now))
            raise
        finally:
            action.staged = None
        write.due = 0 if action.is_terminal and FINALIZER not in action.metadata.finalizers else claimed.now
        self.commit_one(write)

    def claim_one(self, action: ActionId) -> TaskAction:
        """Claim one action, due or not.

        Raises:
            ActionNotFound: there is no such record.
            Superseded: another step holds it, or it has ended and owes nothing.
        """
        shard = self.store.shard_of(action.run_id)
        report = self.store.claim(shard, owner="reconcile", limit=0, named=[action])
        if report.actions:
            return report.actions[0]
        found = self.store.get(action)
        if found is None:
            raise ActionNotFound(action)
        if found.is_terminal and FINALIZER not in found.metadata.finalizers:
            raise Superseded(f"{action} has ended; nothing of it can change any more")
        raise Superseded(f"another step holds {action}; it will be looked at again when that step ends")

    def commit_one(self, write: Write) -> None:
        """Commit a single write.

        Raises:
            Superseded: a newer claim holds the action.
            ActionNotFound: the record is gone.
        """
        shard = self.store.shard_of(write.action.id.run_id)
        outcome = self.store.commit(shard, [write]).outcomes[0]
        if outcome is CommitOutcome.GONE:
            raise ActionNotFound(write.action.id)
        if outcome is CommitOutcome.SUPERSEDED:
            raise Superseded(f"a newer claim holds {write.action.id}; nothing was written")
        give_back(self.resource_manager, self.store, [write])

    # -- small helpers ---------------------------------------------------------------------------------------------
    def audit(self, action: TaskAction, reason: str, doing: str, message: str) -> None:
        """Attach a warning to a record. A recorder that is missing or fails never affects the round."""
        metrics.audited(reason)
        log.warning("audit", action=str(action.id), reason=reason, doing=doing, message=message)
        if self.recorder is None:
            return
        try:
            at = self.now(action)
            self.recorder.event(
                AuditEntry(id=action.id, reason=reason, action=doing, message=cut(message), at=at)
            )
        except Exception as error:  # noqa: BLE001  # a recorder may raise anything
            log.warning("audit.failed", action=str(action.id), error=str(error))

    def context(self, action: TaskAction, plugin: Plugin) -> TaskExecutionContext:
        """The execution context of the current attempt (R63).

        Raises:
            InvalidSpec: the run output base cannot be parsed.
        """
        state = PluginStateManager(action.status.plugin_state, action.status.plugin_state_version)
        return TaskExecutionContext(action, self.services, state, plugin.properties.generated_name_max_length)

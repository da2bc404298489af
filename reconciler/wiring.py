"""The composition root: builds the engine from one `Settings`. A client connects by `client/connect.py`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from reconciler.api.errors import InvalidSettings
from reconciler.api.event import AuditEntry
from reconciler.api.resource import read_units
from reconciler.api.secret import read_provider
from reconciler.broker.check import broker_problems
from reconciler.broker.conf import build_app
from reconciler.broker.exchange import exchange_problems
from reconciler.broker.messages import Messenger
from reconciler.broker.messenger import CeleryMessenger
from reconciler.broker.releases import release_problems
from reconciler.controller.ahead import Turns
from reconciler.controller.reconciler import TaskActionReconciler
from reconciler.controller.step import Stepper
from reconciler.plugins import echo, function, group, sleep, windowed
from reconciler.plugins.catalog_client import AsyncCatalogClient
from reconciler.plugins.function_config import Kept
from reconciler.plugins.managers import NoopSecretManager, ResourceManager, SecretManager
from reconciler.plugins.registry import PluginEntry, PluginRegistry, load_entries, read_entries
from reconciler.plugins.secrets import (
    ChainedSecrets,
    EnvironmentSecrets,
    FileSecrets,
    SecretProvider,
)
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.catalog import Catalog
from reconciler.stores.objects import BlobStore
from reconciler.stores.outage import looked
from reconciler.stores.owner import foreign_problem
from reconciler.stores.redis.catalog import RedisCatalog
from reconciler.stores.redis.check import store_problems
from reconciler.stores.redis.quotas import RedisQuotas
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.s3 import S3Blobs
from reconciler.stores.s3.aws_secrets import AwsSecrets, client_factory
from reconciler.webhooks.caller import Webhooks
from reconciler.webhooks.secret import secret_problems


class StoreRecorder:
    """Keeps audit entries beside the records."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def event(self, entry: AuditEntry) -> None:
        """Keep one entry."""
        self._store.record_audit([entry])


class Engine:
    """All parts of one process, connected. Connections are opened when they are first used.

    Attributes:
        settings: everything configurable.
        store: records.
        blobs: objects.
        messenger: wake-ups and launches.
        reconciler: the rules.
        stepper: runs reconcile steps.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        blobs: BlobStore,
        messenger: Messenger,
        plugins: Sequence[PluginEntry] = (),
        rng: random.Random | None = None,
        resource_manager: ResourceManager | None = None,
        secret_manager: SecretManager | None = None,
        catalog: Catalog | None = None,
        webhooks: Webhooks | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.blobs = blobs
        self.messenger = messenger
        self.reconciler = TaskActionReconciler(
            store,
            PluginRegistry(
                (*builtin_plugins(settings), *plugins),
                routes=dict(text.split("=", 1) for text in settings.plugin_routes),
            ),
            blobs,
            settings=settings,
            recorder=StoreRecorder(store),
            rng=rng,
            resource_manager=resource_manager,
            secret_manager=secret_manager or secrets_of(settings),
            catalog=catalog,
            catalog_client=catalog and AsyncCatalogClient(catalog, blobs, limit=settings.max_object_size),
            announce=messenger.wake,
            webhooks=webhooks,
        )
        for resource, units in map(read_units, settings.quotas):
            self.reconciler.resource_manager.register_quota(resource, units)
        self.stepper = Stepper(self.reconciler, messenger, turns=turns)


def builtin_plugins(settings: Settings) -> tuple[PluginEntry, ...]:
    """List the plugins every installation has."""
    return (
        sleep.ENTRY,
        echo.ENTRY,
        group.ENTRY,
        windowed.ENTRY,
        function.entry(settings.attempts_queue, Kept.of(settings), settings.unknown_function_patience),
    )


def build(
    settings: Settings, *, messenger: Messenger | None = None, plugins: Sequence[PluginEntry] = ()
) -> Engine:
    """Build an engine on Redis, S3 and Celery's broker.

    Args:
        settings: everything configurable.
        messenger: how to send; a Celery application of its own when not given.
        plugins: further plugins, besides those of the settings; a later one wins a shared task type.

    Raises:
        InvalidSettings: a plugin of the settings cannot be loaded.
    """
    store = RedisStore(settings)
    return Engine(
        settings,
        store=store,
        blobs=S3Blobs(settings),
        messenger=messenger or CeleryMessenger(build_app(settings), settings),
        plugins=(*load_entries(settings.plugins, builtin_plugins(settings)), *plugins),
        resource_manager=RedisQuotas(settings, store.client),
        catalog=RedisCatalog(settings, store.client),
        turns=store if store.sends_ahead else None,
    )


def secrets_of(settings: Settings) -> SecretManager:
    """Build the secret manager of an installation: its places in the given order; none when it names none."""
    places: list[SecretProvider] = []
    for kind, place in map(read_provider, settings.secrets):
        match kind:
            case "env":
                places.append(EnvironmentSecrets())
            case "files":
                places.append(FileSecrets(Path(place)))
            case _:
                places.append(AwsSecrets(place, client_factory(settings)))
    return ChainedSecrets(places) if places else NoopSecretManager()


def build_problems(settings: Settings) -> list[str]:
    """List everything that keeps an engine with these settings from working: its plugins, servers and files.

    Each is a sentence with a remedy; an `Outage` may pass by itself.
    """
    entries, problems = read_entries(settings.plugins, builtin_plugins(settings))
    problems = [*release_problems(), *problems]
    try:
        PluginRegistry((*builtin_plugins(settings), *entries))
    except InvalidSettings as error:
        problems += error.problems
    try:
        store, blobs = RedisStore(settings), S3Blobs(settings)
    except InvalidSettings as error:
        return problems + error.problems
    servers = looked(lambda: store_problems(store)) + looked(blobs.check)
    return [
        *problems,
        *(servers or looked(lambda: _marked(store, blobs))),
        *broker_problems(settings),
        *secret_problems(settings),
        *exchange_problems(settings),
    ]


def _marked(store: Store, blobs: BlobStore) -> list[str]:
    """Mark the place of the objects where nobody has. That of another installation ends no start: `doctor` says it."""
    foreign_problem(store, blobs)
    return []

"""The things rounds need of their reconciler: its attributes, as they are now (R1)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from reconciler.api.remembered import Remembered
from reconciler.controller.audit import Recorder
from reconciler.plugins.context import Services
from reconciler.plugins.known import KnownFunctions
from reconciler.plugins.managers import ResourceManager, SecretManager
from reconciler.plugins.registry import PluginRegistry
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.catalog import Catalog
from reconciler.stores.objects import BlobStore
from reconciler.webhooks.caller import Webhooks


class SystemFailureLimit(int):
    """Works as attribute and as method: a number as configured; called, the value in force, 3 for 0 (R1)."""

    def __call__(self) -> int:
        """Return the maximum in force."""
        return int(self) or 3


class Dependencies(Protocol):
    """The attributes of `TaskActionReconciler`. The next round sees a changed one."""

    settings: Settings
    store: Store  # records, due index and results channel
    recorder: Recorder | None  # of warnings; None is tolerated everywhere
    plugin_registry: PluginRegistry  # resolves task types
    data_store: BlobStore  # objects in S3
    secret_manager: SecretManager  # secrets by reference
    resource_manager: ResourceManager  # quotas
    catalog_client: Any  # handed through to plugins, never used here
    catalog: Catalog | None  # synchronous; None disables caching completely
    cache_keys: Remembered[tuple[object, ...], str]  # of inputs in S3, which take a read to compute
    known_functions: KnownFunctions  # which workers can run a function
    webhooks: Webhooks  # of conditions
    rng: random.Random  # of jitter
    announce: Callable[[int], None]  # sends a wake-up for a shard; without it the resync sweep does, later
    requeue_duration: int  # when to look again if nothing says otherwise, ms

    @property
    def max_system_failures(self) -> SystemFailureLimit:
        """Return how many system failures in a row are tolerated."""

    @property
    def services(self) -> Services:
        """Return the services that every plugin gets."""

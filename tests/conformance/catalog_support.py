"""What the suites of the catalog share: a key, outputs, a source, and time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import redis

from reconciler.api.transition import OutputRef
from reconciler.stores.catalog import CacheKey, CacheSource, Catalog

KEY = CacheKey(project="p", domain="d", key="task-interface-inputs-v1")
OTHER_KEY = CacheKey(project="p", domain="d", key="another")
OUTPUTS = OutputRef(uri="s3://bucket/a/outputs.pb", sha256="ab" * 32, size=11)
OTHERS = OutputRef(uri="s3://bucket/b/outputs.pb", size=12)
SOURCE = CacheSource(task="t", run="r1", action="a0", attempt=2)


class MakeCatalog(Protocol):
    """Builds an empty catalog with these settings."""

    def __call__(self, **settings: object) -> Catalog:
        """Build one."""
        ...


MoveTime = Callable[[int], None]
"""Let at least so many milliseconds pass for the catalog."""


def server_time(client: redis.Redis) -> int:
    """Return the server's time, ms."""
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000

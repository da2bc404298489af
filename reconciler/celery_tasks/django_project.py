"""Django around a call: its connections end with it, as in a worker of Celery."""

from __future__ import annotations

import os
import sys
from typing import Any


def close_connections() -> None:
    """Close the call's connections to databases and caches, but none inside a transaction: that belongs to a test."""
    if not os.environ.get("DJANGO_SETTINGS_MODULE") or "django.db" not in sys.modules:
        return
    database: Any = sys.modules["django.db"]
    for connection in database.connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
    cache: Any = sys.modules.get("django.core.cache")
    if cache is not None:
        cache.close_caches()

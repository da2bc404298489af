"""Durable task actions on the Celery, Redis and S3 you already run.

Each name below is loaded when it is first used: `import reconciler`, which every part of the package implies,
costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.api.action import ActionId, RunId
    from reconciler.api.errors import NonRetryableError
    from reconciler.api.secret import Secret
    from reconciler.api.template import RetryStrategy, Timeouts
    from reconciler.archive.bulk import BulkVerb
    from reconciler.archive.query import Question
    from reconciler.celery_tasks import durable
    from reconciler.children.functions import ask, continue_as_new, sleep, step
    from reconciler.client import Client, Run
    from reconciler.client.aio import AsyncClient
    from reconciler.controller.reconciler import TaskActionReconciler
    from reconciler.core.cachepolicy import Cache
    from reconciler.core.current import current_attempt
    from reconciler.environment import TaskEnvironment
    from reconciler.settings import Settings
    from reconciler.stores.holds import RunLife
    from reconciler.task import Task

__all__ = [
    "ActionId",
    "AsyncClient",
    "BulkVerb",
    "Cache",
    "Client",
    "NonRetryableError",
    "Question",
    "RetryStrategy",
    "Run",
    "RunId",
    "RunLife",
    "Secret",
    "Settings",
    "Task",
    "TaskActionReconciler",
    "TaskEnvironment",
    "Timeouts",
    "ask",
    "continue_as_new",
    "current_attempt",
    "durable",
    "sleep",
    "step",
]

_HOMES = {
    "ActionId": "reconciler.api.action",
    "BulkVerb": "reconciler.archive.bulk",
    "Question": "reconciler.archive.query",
    "RunId": "reconciler.api.action",
    "RunLife": "reconciler.stores.holds",
    "AsyncClient": "reconciler.client.aio",
    "Cache": "reconciler.core.cachepolicy",
    "Client": "reconciler.client",
    "NonRetryableError": "reconciler.api.errors",
    "RetryStrategy": "reconciler.api.template",
    "Run": "reconciler.client",
    "Secret": "reconciler.api.secret",
    "Settings": "reconciler.settings",
    "Task": "reconciler.task",
    "TaskActionReconciler": "reconciler.controller.reconciler",
    "TaskEnvironment": "reconciler.environment",
    "Timeouts": "reconciler.api.template",
    "ask": "reconciler.children.functions",
    "continue_as_new": "reconciler.children.functions",
    "current_attempt": "reconciler.core.current",
    "durable": "reconciler.celery_tasks",
    "sleep": "reconciler.children.functions",
    "step": "reconciler.children.functions",
}
"""Where each public name is defined."""


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

"""Sweep: forget what ended long enough ago (spec 16).

Deletes records of terminal actions past their retention, with their entries in every index, and events past theirs. Never an
action that is owed clean-up, has open children, or whose parent has not ended. Objects in S3 are kept: a bucket's life-cycle
rule is the tool for them (docs/operations.md). Safe to run twice and on two hosts: who comes second finds nothing.
"""

from __future__ import annotations

import structlog

from reconciler import metrics
from reconciler.api.errors import Unavailable
from reconciler.settings import Settings
from reconciler.stores.base import Store

log = structlog.get_logger(__name__)
PAGE_SIZE = 500
"""Actions per script call (spec 3)."""


def collect(store: Store, settings: Settings) -> int:
    """Run one pass over all shards; returns how many actions were forgotten.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    with metrics.sweep():
        now = store.now()
        before = now - int(settings.retention.total_seconds() * 1000)
        deleted = sum(_collect_shard(store, shard, before) for shard in range(store.shards))
        trimmed = store.trim_events(now - int(settings.events_retention.total_seconds() * 1000))
    if deleted or trimmed:
        log.info("collect.done", deleted=deleted, events=trimmed)
    return deleted


def _collect_shard(store: Store, shard: int, before: int) -> int:
    try:
        report = store.collect(shard, before=before, limit=PAGE_SIZE)
    except Unavailable:
        metrics.deleted("failed", 1)
        raise
    metrics.deleted("deleted", len(report.deleted))
    metrics.deleted("already_gone", report.already_gone)
    return len(report.deleted)

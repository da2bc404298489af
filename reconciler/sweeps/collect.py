"""Sweep: forget what ended long enough ago (R42).

Deletes records of terminal actions past their retention, with their entries in every index, and events past theirs. Never
an action that is owed clean-up, has open children, or is below one that is kept. Objects in S3 are kept unless
`collect_objects` is set: a bucket's life-cycle rule is the tool for them (docs/operations.md). Safe to run twice and on two
hosts: who comes second finds nothing.
"""

from __future__ import annotations

from collections import Counter

import structlog

from reconciler import metrics
from reconciler.api.errors import Unavailable
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.objects import BlobStore
from reconciler.sweeps.holds import drop_holds
from reconciler.sweeps.objects import Removed, note_objects, remove_objects

log = structlog.get_logger(__name__)
PAGE_SIZE = 500
"""Actions per script call (R8)."""


def collect(store: Store, settings: Settings, blobs: BlobStore | None = None) -> int:
    """Run one pass over all shards; returns how many actions were forgotten.

    Args:
        store: the records.
        settings: retentions, and whether objects go, too.
        blobs: the objects; all are kept when not given.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    objects: Counter[Removed] = Counter()
    deleted = 0
    with metrics.sweep():
        now = store.now()
        before = now - int(settings.retention.total_seconds() * 1000)
        for shard in range(store.shards):
            drop_holds(store, shard)
            if blobs is None or not settings.collect_objects:
                deleted += _collect_shard(store, shard, before)
            else:
                note_objects(store, blobs, shard, before=before, limit=PAGE_SIZE)
                deleted += _collect_shard(store, shard, before, noted=True)
                objects += remove_objects(store, blobs, shard)
        trimmed = store.trim_events(now - int(settings.events_retention.total_seconds() * 1000))
    if deleted or trimmed or objects:
        log.info("collect.done", deleted=deleted, events=trimmed, objects=dict(objects))
    return deleted


def _collect_shard(store: Store, shard: int, before: int, *, noted: bool = False) -> int:
    try:
        report = store.collect(shard, before=before, limit=PAGE_SIZE, noted=noted)
    except Unavailable:
        metrics.deleted("failed", 1)
        raise
    metrics.deleted("deleted", len(report.deleted))
    metrics.deleted("already_gone", report.already_gone)
    return len(report.deleted)

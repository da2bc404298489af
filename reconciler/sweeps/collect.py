"""Sweep: forget what ended long enough ago (R42).

Deletes records of terminal actions past their retention, with their entries in every index, and events past theirs. Never
an action that is owed clean-up, has children that stay, or is below one that is kept. With an archive, never one of a run
that does not lie there yet (`sweeps/archive.py`). Objects in S3 are kept unless `collect_objects` is set: a bucket's rule of
life-cycle is the tool for them (docs/operations.md). Safe to run twice and on two hosts: who comes second finds nothing.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import structlog

from reconciler import metrics
from reconciler.api.errors import BlobUnavailable, Unavailable
from reconciler.archive.archive import Archive
from reconciler.archive.bulk import forget_bulks
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.objects import BlobStore
from reconciler.sweeps.archive import archive_all
from reconciler.sweeps.deleting import EVERY as DELETING_EVERY
from reconciler.sweeps.deleting import delete_requested
from reconciler.sweeps.expire import EVERY
from reconciler.sweeps.holds import drop_holds
from reconciler.sweeps.objects import Removed, note_objects, remove_objects

log = structlog.get_logger(__name__)
_HOLDS_EVERY = 600_000
"""How often holders are looked for in the archive, ms."""
_BULKS = timedelta(days=1)
"""How long plans of bulks are kept at least."""
PAGE_SIZE = 500
"""Actions per script call (R8)."""


def collect(store: Store, settings: Settings, blobs: BlobStore | None = None) -> int:
    """Run one pass over all shards; returns how many actions were forgotten.

    Args:
        store: the records.
        settings: retentions, and whether objects go, too.
        blobs: the objects; all are kept when not given.
    """
    objects: Counter[Removed] = Counter()
    deleted = 0
    with metrics.sweep():
        now = store.now()
        before = now - int(settings.retention.total_seconds() * 1000)
        archiving = blobs is not None and bool(settings.archive)
        archived = archive_all(store, blobs, settings, before) if blobs is not None and archiving else 0
        archive = Archive(blobs) if blobs is not None and archiving else None
        # each holder in the archive costs a request, and stays there for days
        holders_looked_for = archive is None or store.take_turn("holds", _HOLDS_EVERY)
        for shard in range(store.shards):
            if holders_looked_for:
                drop_holds(store, shard, archive)
            noted = blobs is not None and settings.collect_objects and not archiving
            if blobs is not None and noted:
                note_objects(store, blobs, shard, before=before, limit=PAGE_SIZE)
            deleted += _collect_shard(store, shard, before, noted=noted, archived=archiving)
            if blobs is not None:  # also without collect_objects: of runs that were deleted on request
                objects += remove_objects(store, blobs, shard)
        if blobs is not None:
            _keep_promises(store, blobs, settings)
        kept = int(settings.events_retention.total_seconds() * 1000)
        trimmed = store.trim_events(now - kept, spilled=archiving)
    if deleted or trimmed or objects or archived:
        log.info("collect.done", deleted=deleted, archived=archived, events=trimmed, objects=dict(objects))
    return deleted


def _keep_promises(store: Store, blobs: BlobStore, settings: Settings) -> None:
    """Delete what somebody asked to delete, and forget old plans of bulks."""
    try:
        if store.take_turn("deleting", DELETING_EVERY):
            delete_requested(store, blobs, settings)
        if store.take_turn("bulks", EVERY):
            kept = int(max(settings.archive, _BULKS).total_seconds() * 1000)
            forget_bulks(blobs, store.now() - kept)
    except BlobUnavailable as error:
        log.warning("archive.unavailable", error=str(error))


def _collect_shard(store: Store, shard: int, before: int, *, noted: bool, archived: bool) -> int:
    try:
        report = store.collect(shard, before=before, limit=PAGE_SIZE, noted=noted, archived=archived)
    except Unavailable:
        metrics.deleted("failed", 1)
        raise
    metrics.deleted("deleted", len(report.deleted))
    metrics.deleted("already_gone", report.already_gone)
    return len(report.deleted)

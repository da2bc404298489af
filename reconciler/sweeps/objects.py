"""Remove the objects of forgotten actions from S3, if the installation wants it (R42).

Removed is what lies in the two folders of an action: that of its inputs, and that of its attempts with outputs, error, log,
and what the function stored there. Both belong to one incarnation of its run (`reconciler.core.layout`): a name that is in
use again loses nothing. Kept are the objects of runs that others were made of (`reconciler.stores.holds`), as
long as those are there; those of tasks that are cached, as the catalog refers to the attempt that filled a key, whatever
became of its action; and outputs in a folder the submitter chose, as others may have chosen it, too.

A record never outlives its objects: it goes first. Before it goes, its folders are noted, and a note stays until they are
empty. So a sweep may be killed anywhere, and S3 may be away: the next pass finishes what an earlier one left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

import structlog

from reconciler.api.action import TaskAction
from reconciler.api.errors import ReconcilerError
from reconciler.archive.folders import folders_of
from reconciler.archive.layout import run_path
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.garbage import Folders, Life
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import BlobStore

log = structlog.get_logger(__name__)
_AT_ONCE = 8
"""Actions whose objects are removed at the same time: S3 takes milliseconds for each request."""

_PAGE = 100
"""Actions whose notes are dropped at once: at most this many are looked at again after a crash."""


class Removed(StrEnum):
    """The result for the objects of one action."""

    DELETED = "deleted"
    ALREADY_GONE = "already_gone"
    FAILED = "failed"


def note_objects(store: Store, blobs: BlobStore, shard: int, *, before: int, limit: int) -> None:
    """Note where the objects lie of actions that ended before `before` and may be forgotten."""
    actions = store.collectable(shard, before=before, limit=limit)
    store.note_garbage(shard, {Life.of(action): folders_of(blobs, action) for action in actions})


def note_late(
    store: Store, blobs: BlobStore, settings: Settings, shard: int, late: Sequence[TaskAction]
) -> int:
    """Note what late workers wrote whose outcome was refused, where its action is forgotten; return how many were noted.

    Nobody would ever remove it: the collector passed before it was written. While the run lies in the archive that has its
    folders, and they go with it.

    Raises:
        BlobUnavailable, StoreUnavailable: a server does not answer.
    """
    if not settings.collect_objects:
        return 0
    found = store.get_many([action.id for action in late])
    gone = [
        action
        for action, record in zip(late, found, strict=True)
        if (record is None or Life.of(record) != Life.of(action))
        and blobs.stat(blobs.uri(run_path(action.id.run_id, action.metadata.incarnation))) is None
    ]
    store.note_garbage(shard, {Life.of(action): folders_of(blobs, action) for action in gone})
    return len(gone)


def remove_objects(store: Store, blobs: BlobStore, shard: int) -> Counter[Removed]:
    """Remove all noted objects whose records are gone; return how many actions had which outcome.

    One failure keeps no other from being removed; its note stays.

    Raises:
        StoreUnavailable: the store does not answer; what was removed is found gone by the next pass.
    """
    notes = store.garbage(shard)
    lives = list(notes)
    outcomes: Counter[Removed] = Counter()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="collect") as pool:
        for start in range(0, len(lives), _PAGE):
            page = _forgotten(store, shard, lives[start : start + _PAGE])
            done = list(pool.map(lambda life: _remove(blobs, life, notes[life]), page))
            outcomes.update(outcome for outcome in done if outcome is not None)
            store.drop_garbage(
                shard, [life for life, found in zip(page, done, strict=True) if found is not Removed.FAILED]
            )
    return outcomes


def _forgotten(store: Store, shard: int, lives: Sequence[Life]) -> list[Life]:
    """Keep the notes whose records are gone, whatever has their names now.

    An ended one keeps its note: another sweep may forget it at this very moment. One that lives has the name, and the
    folders, of one that was forgotten: only runs that a release before began can; its note is dropped. One of a run that
    is held keeps its note, too: records of its holder point to the objects.
    """
    found = store.get_many([life.action for life in lives])
    records = [
        record if record is not None and Life.of(record) == life else None
        for life, record in zip(lives, found, strict=True)
    ]
    pairs = list(zip(lives, records, strict=True))
    store.drop_garbage(
        shard, [life for life, record in pairs if record is not None and not record.is_terminal]
    )
    held = {
        hold.source for hold in store.holds(shard)
    }  # only now: no new hold can come for what has no record
    gone = [life for life, record in pairs if record is None]
    return [life for life in gone if RunLife(life.action.run_id, life.incarnation) not in held]


def _remove(blobs: BlobStore, life: Life, folders: Folders) -> Removed | None:
    if not folders:
        return None
    try:
        removed = sum(blobs.delete_prefix(folder) for folder in folders)
    except ReconcilerError as error:
        log.warning("collect.objects_failed", action=str(life), error=str(error))
        return Removed.FAILED
    return Removed.DELETED if removed else Removed.ALREADY_GONE

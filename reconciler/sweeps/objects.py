"""Remove the objects of forgotten actions from S3, if the installation wants it (spec 16).

Removed is what lies in the two folders of an action: that of its inputs, and that of its attempts with outputs, error, log,
and what the function stored there. Kept are the objects of tasks that are cached, as the catalog refers to the attempt that
filled a key, whatever became of its action; and those in a folder the submitter chose, as others may have chosen it, too.

A record never outlives its objects: it goes first. Before it goes, its folders are noted, and a note stays until they are
empty. So a sweep may be killed anywhere, and S3 may be away: the next pass finishes what an earlier one left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

import structlog

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import ReconcilerError
from reconciler.core.paths import output_prefix
from reconciler.plugins.context import template_or_none
from reconciler.stores.base import BlobStore, Store
from reconciler.stores.doomed import Folders

log = structlog.get_logger(__name__)
_AT_ONCE = 8
"""Actions whose objects are removed at the same time: S3 takes milliseconds for each request."""

_PAGE = 100
"""Actions whose notes are dropped at once: so many are looked at again at most after a death."""


class Removed(StrEnum):
    """What became of the objects of one action."""

    DELETED = "deleted"
    ALREADY_GONE = "already_gone"
    FAILED = "failed"


def note_objects(store: Store, blobs: BlobStore, shard: int, *, before: int, limit: int) -> None:
    """Note where the objects of those actions lie that ended before `before` and may be forgotten.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    actions = store.collectable(shard, before=before, limit=limit)
    store.doom(shard, {action.id: _folders_of(blobs, action) for action in actions})


def remove_objects(store: Store, blobs: BlobStore, shard: int) -> Counter[Removed]:
    """Remove all noted objects whose records are gone; returns how many actions had which outcome.

    One failure keeps no other from being removed; its note stays.

    Raises:
        StoreUnavailable: the store does not answer; what was removed is found gone by the next pass.
    """
    notes = store.doomed(shard)
    names = list(notes)
    outcomes: Counter[Removed] = Counter()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="collect") as pool:
        for start in range(0, len(names), _PAGE):
            page = _forgotten(store, shard, names[start : start + _PAGE])
            done = list(pool.map(lambda action: _remove(blobs, action, notes[action]), page))
            outcomes.update(outcome for outcome in done if outcome is not None)
            store.spare(
                shard, [a for a, found in zip(page, done, strict=True) if found is not Removed.FAILED]
            )
    return outcomes


def _forgotten(store: Store, shard: int, names: Sequence[ActionId]) -> list[ActionId]:
    """Those whose records are gone. One whose name is in use again, with the same folders, is spared.

    An ended one keeps its note: another sweep may forget it at this very moment.
    """
    records = store.get_many(names)
    live = [
        a for a, record in zip(names, records, strict=True) if record is not None and not record.is_terminal
    ]
    store.spare(shard, live)
    return [action for action, record in zip(names, records, strict=True) if record is None]


def _folders_of(blobs: BlobStore, action: TaskAction) -> Folders:
    template = template_or_none(action)
    if template is None or (template.metadata is not None and template.metadata.discoverable):
        return ()
    base, name = action.spec.run_output_base, action.id.action
    if base != blobs.uri(action.id.project, action.id.domain, action.id.run):
        return ()
    attempt = output_prefix(action.metadata.namespace, action.metadata.name, base, name, 1)
    return (attempt.rpartition("/")[0], f"{base}/{name}")


def _remove(blobs: BlobStore, action: ActionId, folders: Folders) -> Removed | None:
    if not folders:
        return None
    try:
        removed = sum(blobs.delete_prefix(folder) for folder in folders)
    except ReconcilerError as error:
        log.warning("collect.objects_failed", action=str(action), error=str(error))
        return Removed.FAILED
    return Removed.DELETED if removed else Removed.ALREADY_GONE

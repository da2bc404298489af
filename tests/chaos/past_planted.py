"""Mistakes of whoever deletes, makes runs of many, archives or compacts: each does two writes in the wrong order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reconciler.api.action import RunId, TaskAction
from reconciler.archive import compaction, deleting
from reconciler.archive.deleting import Deleter
from reconciler.archive.folders import folders_of
from reconciler.archive.index import list_index, read_rows
from reconciler.archive.layout import run_path
from reconciler.archive.requests import write_wanted
from reconciler.client.bulk import Bulk
from reconciler.stores.base import Store
from reconciler.stores.garbage import Life
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import BlobStore
from reconciler.sweeps.archive import Archiver

_remove = Deleter._remove
_written = Archiver._written


def _note_afterwards(store: Store, blobs: BlobStore, life: RunLife) -> list[TaskAction]:
    shard = store.shard_of(life.run)
    gone = list(store.collect(shard, before=store.now(), limit=500, only=life).deleted)
    store.note_garbage(shard, {Life.of(action): folders_of(blobs, action) for action in gone})
    return gone


def _remove_object_first(self: Deleter, part: Any) -> bool:
    self._blobs.delete([self._blobs.uri(run_path(life.run, life.incarnation)) for life in part.lives])
    return _remove(self, part)


def _mark_first(self: Archiver, runs: Any, segments: Any) -> Any:
    rows = _written(self, runs, segments)
    self._store.set_archived(self._store.shard_of(runs[0].run), [sealed for sealed, _ in rows])
    return rows


def _remove_parts_first(blobs: BlobStore, project: str, day: str) -> int:
    found, _ = list_index(blobs, project, day, day)
    rows = list(read_rows(blobs, found).rows.values())
    blobs.delete([one.uri for one in found])
    write_wanted(blobs, project, day, rows)
    return len(found)


def _make_with_another_name(self: Bulk, life: RunLife, *, again: bool) -> RunId:
    del again
    return self._client.rerun(life.run, incarnation=life.incarnation).id


MISTAKES: dict[str, tuple[object, str, Any]] = {
    "records are forgotten before their folders are noted": (deleting, "forget_run", _note_afterwards),
    "an object of the archive goes before its folders are noted": (Deleter, "_remove", _remove_object_first),
    "a run is marked as archived before the index has it": (Archiver, "_written", _mark_first),
    "parts of the index go before the whole is written": (compaction, "_compact", _remove_parts_first),
    "runs of a bulk are named anew each time": (Bulk, "_make", _make_with_another_name),
}
"""Where, which attribute, and what it is replaced by."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Make one of the mistakes for a while, in processes that are forked meanwhile, too."""
    where, attribute, mistake = MISTAKES[name]
    before = vars(where)[attribute]
    setattr(where, attribute, mistake)
    try:
        yield
    finally:
        setattr(where, attribute, before)

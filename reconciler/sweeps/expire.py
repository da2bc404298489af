"""Part of the collector: remove runs whose time in the archive is over, and with `collect_objects` their objects.

The folders of a run are noted before its object goes, and the index goes last: a death anywhere is followed by the same
again. Of a run whose object somebody else has removed they are found by their place. What others hold (`stores.holds`)
stays until they are gone, as with a forgotten record. Where objects go, a run that a newer release archived stays: only
that one knows what is its.
"""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from reconciler.api.errors import ArchiveDamaged, ArchiveTooNew
from reconciler.archive.archive import Archive
from reconciler.archive.folders import folders_of
from reconciler.archive.index import Row, list_index, read_rows
from reconciler.archive.layout import INDEX, day_of, run_path
from reconciler.archive.requests import write_wanted
from reconciler.archive.unread import LOST, left_folders
from reconciler.stores.base import Store
from reconciler.stores.garbage import Folders, Life
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import BlobStore, Found, folders_in
from reconciler.sweeps.objects import remove_objects

log = structlog.get_logger(__name__)
EVERY = 3_600_000
"""How often it is looked for, ms: days are what goes."""
_DAY = 86_400_000
_NOTES = 2000
"""Actions whose folders are noted at once: some 250 bytes in Redis each, until they are removed."""
_LOST = 100
"""Runs without an object, of one part of the index, whose folders are looked for: each costs some 1,300 requests. Where more
are without one, a rule of the bucket has taken them, and the folders too; or who died here had noted the folders."""


def expire(store: Store, blobs: BlobStore, before: int, *, objects: bool) -> int:
    """Remove from the archive what ended on a day before that time; return how many runs.

    Args:
        store: keeps the notes of folders, and knows who holds what.
        blobs: where the archive lies.
        before: ms since the epoch.
        objects: whether inputs, outputs and logs that belong to these runs alone go, too.

    Raises:
        BlobUnavailable, StoreUnavailable: a server does not answer; a later pass goes on.
    """
    expired = 0
    for project in folders_in(blobs, blobs.uri(INDEX)):
        found, _ = list_index(blobs, project, "0000", day_of(before - _DAY))
        for one in found:
            expired += _expire(store, blobs, one, objects=objects)
    return expired


def _expire(store: Store, blobs: BlobStore, one: Found, *, objects: bool) -> int:
    read = read_rows(blobs, [one])
    if read.damaged:
        log.warning(
            "archive.index_damaged", uri=one.uri, remedy="delete it, and what lies below _archive/runs"
        )
        return 0
    rows = list(read.rows.values())
    kept = remove_runs(store, blobs, rows, objects=objects)
    if len(kept) < len(rows):
        if kept:
            write_wanted(blobs, kept[0].project, day_of(kept[0].ended_at), kept)
        blobs.delete([one.uri])
    return len(rows) - len(kept)


def remove_runs(store: Store, blobs: BlobStore, rows: list[Row], *, objects: bool) -> list[Row]:
    """Remove runs from the archive, and with `objects` also the objects that belong to them alone and that nobody holds.

    Returns:
        Those that stay, as a newer release archived them.

    Raises:
        BlobUnavailable, StoreUnavailable: a server does not answer; some may have been removed.
    """
    part: list[Row] = []
    kept: list[Row] = []
    notes: dict[int, dict[Life, Folders]] = {}
    lost: list[Row] = []
    for row in rows:
        try:
            folders = _folders(blobs, row) if objects else {}
        except ArchiveTooNew as error:
            log.warning("archive.not_deleted", run=str(RunLife(row.id, row.incarnation)), error=str(error))
            kept.append(row)
            continue
        if folders is None:
            lost.append(row)
        elif objects:
            notes.setdefault(store.shard_of(row.id), {}).update(folders)
        part.append(row)
        if sum(map(len, notes.values())) >= _NOTES:
            _remove(store, blobs, part, notes)
            part, notes = [], {}
    for life, folders in _folders_by_place(blobs, lost):
        notes.setdefault(store.shard_of(life.run), {}).update(folders)
    _remove(store, blobs, part, notes)
    return kept


def _folders_by_place(blobs: BlobStore, lost: list[Row]) -> Iterator[tuple[RunLife, dict[Life, Folders]]]:
    """Find the folders of runs whose objects are gone, unless these are too many."""
    if len(lost) > _LOST:
        log.warning("archive.objects_left", runs=len(lost), folders_removed=False, error=LOST)
        return
    for row in lost:
        life = RunLife(row.id, row.incarnation)
        yield life, left_folders(Archive(blobs), life, None, LOST)


def _remove(store: Store, blobs: BlobStore, rows: list[Row], notes: dict[int, dict[Life, Folders]]) -> None:
    for shard, folders in notes.items():
        store.note_garbage(shard, folders)
    blobs.delete([blobs.uri(run_path(row.id, row.incarnation)) for row in rows])
    for shard in notes:
        remove_objects(store, blobs, shard)


def _folders(blobs: BlobStore, row: Row) -> dict[Life, Folders] | None:
    """Name the folders of a run; those of actions that cannot be read are found by their place. None: its object is gone.

    Raises:
        ArchiveTooNew: a newer release archived it.
        BlobUnavailable: the server does not answer.
    """
    archive, run = Archive(blobs), None
    try:
        run = archive.read_run(row.id, row.incarnation)
        if run is None:
            return None
        lost = run.damage
    except ArchiveDamaged as error:
        lost = str(error)
    actions = run.actions.values() if run is not None else ()
    found = {Life.of(action): folders_of(blobs, action) for action in actions}
    return found | left_folders(archive, RunLife(row.id, row.incarnation), run, lost) if lost else found

"""Delete runs from the archive on request: one, or all of a project, with what only they name (R91).

The request is stored first (`archive.requests`), so that a collector finishes what somebody began who died. Then, run by
run: the folders of its actions are noted as garbage, its events in segments go, and its object; last its lines in the index.
Objects in the folders are removed by the collector; those of a source of other runs when these have gone. Who makes a run
of a deleted one takes a hold before he looks for such notes, and they are written before anything goes: he is refused, or
what he needs stays.

What ended before the request and is still stored is forgotten, too (`archive.forgetting`), and not kept in the archive: who
archives it just then takes it back. What must wait for its clean-up is forgotten by a later pass, and the request is done no
sooner. It is carried out again for some time: a collector that was stopped in the middle may write again what it had read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import msgspec
import structlog

from reconciler.api.action import RunId, TaskAction
from reconciler.api.errors import ArchiveTooNew, ArchiveUnreadable
from reconciler.archive.archive import Archive, archived_lives
from reconciler.archive.folders import folders_of
from reconciler.archive.forgetting import forget_run, incarnation_of, stored_lives
from reconciler.archive.index import Key, Row, list_index, read_rows
from reconciler.archive.layout import day_of, run_path
from reconciler.archive.record import ArchivedRun
from reconciler.archive.requests import DeleteRequest, requests_in, unwanted, write_wanted
from reconciler.archive.segments import drop_events
from reconciler.archive.unneeded import Unneeded
from reconciler.archive.unread import LOST, left_folders
from reconciler.core.status_conditions import terminal_time
from reconciler.stores.base import Store
from reconciler.stores.garbage import Folders, Life
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import BlobStore, Found

log = structlog.get_logger(__name__)
_TOGETHER = 2000
"""Actions whose folders are noted at once: some 250 bytes in Redis each, until they are removed."""
_ROWS = 20_000
"""Lines of the index that are remembered for the next request: some 10 MB."""
_SKEW = 600.0
"""Seconds by which the clock of the object store may be behind that of the store."""


class _Part(msgspec.Struct):
    """Runs that are removed together.

    Attributes:
        lives: which ones.
        notes: of each shard, the folders of their actions.
        first: of each shard when the first of them was created, ms; 0 where nobody knows it of one.
        ends: of each name when the last of its runs ended, ms; 0 where nobody knows it.
    """

    lives: list[RunLife] = []
    notes: dict[int, dict[Life, Folders]] = {}
    first: dict[int, int] = {}
    ends: dict[RunId, int] = {}

    @property
    def count(self) -> int:
        """Number of their actions."""
        return sum(map(len, self.notes.values()))

    def add(self, blobs: BlobStore, shard: int, life: RunLife, run: ArchivedRun | None) -> None:
        """Add a run, with what can be read of it; None: nothing."""
        created, ended = (run.created_at, run.ended_at) if run is not None else (0, 0)
        self._add(shard, life, created, ended)
        actions = run.actions.values() if run is not None else ()
        self.notes[shard].update((Life.of(action), folders_of(blobs, action)) for action in actions)

    def add_forgotten(self, shard: int, life: RunLife, actions: Sequence[TaskAction]) -> None:
        """Add a run that was stored until now; its folders are noted."""
        created = min((action.metadata.creation_timestamp for action in actions), default=0)
        ended = max((terminal_time(action.status) for action in actions), default=0)
        self._add(shard, life, created, ended)

    def _add(self, shard: int, life: RunLife, created: int, ended: int) -> None:
        self.lives.append(life)
        self.notes.setdefault(shard, {})
        self.first[shard] = min(self.first.get(shard, created), created)
        self.ends[life.run] = max(self.ends.get(life.run, 0), ended)


class Deleter:
    """Carries out requests to delete from the archive.

    Attributes:
        damaged: runs of the last request that could not be read whole: what they named elsewhere is not known.
        too_new: those a newer release archived: they stay, as only that one knows what is theirs.

    Args:
        store: keeps the notes of garbage.
        blobs: where the archive lies.
        flush: removes the garbage of a shard; None: the collector does it.
        most: actions that are noted at most without `flush`.
    """

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        flush: Callable[[int], object] | None = None,
        most: int = 10 * _TOGETHER,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._flush = flush
        self._left = most
        self._known: dict[str, list[Row]] = {}
        self.damaged: set[RunLife] = set()
        self.too_new: set[RunLife] = set()

    def carry_out(self, request: DeleteRequest) -> bool:
        """Delete what is asked for; tell whether all has gone: what owes clean-up waits, and without `flush` a large rest.

        Raises:
            BlobUnavailable, StoreUnavailable: a server does not answer; it may be carried out again.
        """
        self.damaged, self.too_new = set(), set()
        return self._carry_out(request) and not self.too_new

    def _carry_out(self, request: DeleteRequest) -> bool:
        forgotten = self._forget_stored(request)
        lives = [RunLife.parse(run) for run in request.runs]
        if lives and not self._forget(lives):
            return False
        known, lost = set[Key](), {RunLife.parse(run) for run in request.lost}
        found, _ = list_index(self._blobs, request.project, request.since, request.until)
        for one in found:
            rows = self._rows_of(one)
            going = [row for row in rows if request.means(row)]
            known.update(row.key for row in rows)
            if not going:
                continue
            if not lives and not self._forget([RunLife(row.id, row.incarnation) for row in going]):
                return False
            if not self._forget_lost(
                [life for row in going if (life := RunLife(row.id, row.incarnation)) in lost]
            ):
                return False
            self._strip(one.uri, request.project, rows, {row.key for row in going})
        if not lives and not self._forget(list(self._unlisted(request, known))):
            return False
        self._drop_late(request, sorted(self._shards(request)))
        return forgotten

    def take_back(self, rows: Sequence[Row]) -> int:
        """Delete, of runs archived just now, those whose deletion was asked for; return how many.

        Raises:
            BlobUnavailable, StoreUnavailable: a server does not answer; it may be done again.
        """
        going = unwanted(self._blobs, rows)
        if not going:
            return 0
        self._forget([RunLife(row.id, row.incarnation) for row in going])
        gone = {row.key for row in going}
        for project, day in sorted({(row.project, day_of(row.ended_at)) for row in going}):
            for one in list_index(self._blobs, project, day, day)[0]:
                found = self._rows_of(one)
                if any(row.key in gone for row in found):
                    self._strip(one.uri, project, found, gone)
        return len(going)

    def heed(self, shard: int) -> None:
        """Drop from segments, which were written just now, the events of runs that were deleted meanwhile.

        Raises:
            BlobUnavailable, StoreUnavailable: a server does not answer; it is done when requests are carried out again.
        """
        for request in requests_in(self._blobs):
            if shard in self._shards(request):
                self._drop_late(request, [shard])

    def _shards(self, request: DeleteRequest) -> Iterable[int]:
        if request.runs:
            return {self._store.shard_of(RunLife.parse(run).run) for run in request.runs}
        return range(self._store.shards)

    def _drop_late(self, request: DeleteRequest, shards: Iterable[int]) -> None:
        """Drop events that somebody has put into segments since the request: he had read them before the runs went."""
        named = {RunLife.parse(run).run for run in request.runs}
        unneeded = Unneeded(self._store, named.__contains__ if named else request.covers)
        for shard in shards:
            drop_events(self._blobs, shard, unneeded, written=request.at / 1000 - _SKEW)

    def _rows_of(self, one: Found) -> list[Row]:
        """Read an object of the index, once for many requests, as it never changes."""
        known = self._known.get(one.uri)
        if known is None:
            known = list(read_rows(self._blobs, [one]).rows.values())
            if sum(map(len, self._known.values())) + len(known) <= _ROWS:
                self._known[one.uri] = known
        return known

    def _strip(self, uri: str, project: str, rows: Sequence[Row], going: Collection[Key]) -> None:
        """Write an object of the index again without some of its lines; those of runs that stay, stay."""
        kept = [row for row in rows if row.key not in going or self._stays(row)]
        if len(kept) == len(rows):
            return
        if kept:
            write_wanted(self._blobs, project, day_of(kept[0].ended_at), kept)
        self._blobs.delete([uri])

    def _stays(self, row: Row) -> bool:
        return RunLife(row.id, row.incarnation) in self.too_new

    def _forget_stored(self, request: DeleteRequest) -> bool:
        """Forget what is meant and still stored; tell whether all of it has gone, as some may have to wait."""
        if request.finished_at:
            return True
        whole, part = True, _Part()
        for run in stored_lives(self._store, request):
            if not run.is_settled or (self._flush is None and run.actions > self._left):
                whole = False
                continue
            self._left -= run.actions
            gone, life = forget_run(self._store, self._blobs, run.life), run.life
            if gone:
                part.add_forgotten(self._store.shard_of(life.run), life, gone)
            whole = incarnation_of(self._store, life.run) != life.incarnation and whole
        return self._remove(part) and whole

    def _unlisted(self, request: DeleteRequest, known: Collection[Key]) -> Iterator[RunLife]:
        """Find runs of a project without a line in the index, for which no collector is about to write one."""
        for life in archived_lives(self._blobs, request.project, request.domain):
            if (life.run.project, life.run.domain, life.run.run, life.incarnation) in known:
                continue
            if self._ended(life) < request.at and self._store.counts(life.run) is None:
                yield life

    def _ended(self, life: RunLife) -> int:
        try:
            run = Archive(self._blobs).read_run(life.run, life.incarnation)
        except ArchiveUnreadable:
            return 0
        return run.ended_at if run is not None else 0

    def _forget(self, lives: Sequence[RunLife]) -> bool:
        """Note what belongs to these runs alone, then remove them; False when they are too many to be noted at once."""
        part = _Part()
        for life in lives:
            self._read(life, part)
            if part.count >= _TOGETHER:
                if not self._remove(part):
                    return False
                part = _Part()
        return self._remove(part)

    def _forget_lost(self, lives: Sequence[RunLife]) -> bool:
        """Note what lies in folders of runs whose object was gone when it was asked, as long as their lines are there."""
        for life in lives:
            part, shard = _Part(), self._store.shard_of(life.run)
            part.add(self._blobs, shard, life, None)
            part.notes[shard].update(left_folders(Archive(self._blobs), life, None, LOST))
            self.damaged.add(life)
            if not self._remove(part):
                return False
        return True

    def _read(self, life: RunLife, part: _Part) -> None:
        archive = Archive(self._blobs)
        run, lost = None, ""
        try:
            run = archive.read_run(life.run, life.incarnation)
        except ArchiveTooNew as error:
            self.too_new.add(life)
            log.warning("archive.not_deleted", run=str(life), error=str(error))
            return
        except ArchiveUnreadable as error:
            lost = str(error)
        else:
            if run is None:
                return  # somebody was here before, or it was gone when it was asked: see _forget_lost
            lost = str(run.damage or "")
        part.add(self._blobs, self._store.shard_of(life.run), life, run)
        if lost:
            self.damaged.add(life)
            part.notes[self._store.shard_of(life.run)].update(left_folders(archive, life, run, lost))

    def _remove(self, part: _Part) -> bool:
        if self._flush is None and part.count > self._left:
            return False
        self._left -= part.count
        unneeded = Unneeded(self._store, part.ends.__contains__, part.ends)
        for shard, folders in part.notes.items():
            self._store.note_garbage(shard, folders)
            drop_events(self._blobs, shard, unneeded, since=part.first[shard])
        self._blobs.delete([self._blobs.uri(run_path(life.run, life.incarnation)) for life in part.lives])
        if self._flush is not None:
            for shard in part.notes:
                self._flush(shard)
        return True

"""Delete runs from the archive on request: one, or all of a project, with what only they name. A trace stays (R91).

    _archive/deleting/<time>-<digest>.json   what is asked for; until nothing can bring it back
    _archive/deleted/<time>-<digest>.json    the trace: what was asked for, by whom, how many runs; it is kept

The request is stored first, so that a collector finishes what somebody began who died. Then, run by run: the folders of its
actions are noted as garbage, its events in segments go, and its object; last its lines in the index. Objects in the folders
are removed by the collector; those of a source of other runs when these have gone. Who makes a run of a deleted one takes a
hold before he looks for such notes, and they are written before anything goes: he is refused, or what he needs stays.

A request is carried out again for some time: a collector that was stopped in the middle, and one that compacts the index,
may write again what they had read before. And what had ended before it may be archived after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import msgspec

from reconciler.api.action import RunId
from reconciler.api.audit import Who
from reconciler.api.errors import ArchiveUnreadable, BlobCorrupt, BlobExists, BlobNotFound
from reconciler.archive.archive import Archive
from reconciler.archive.folders import folders_of
from reconciler.archive.index import Row, list_index, read_rows, write_part
from reconciler.archive.layout import DELETED, DELETING, RUNS, day_of, incarnation_in, run_path
from reconciler.archive.segments import drop_events
from reconciler.stores.base import Store
from reconciler.stores.garbage import Folders, Life
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import BlobStore

VERSION = 1
"""Version of the format of a request."""
FIRST, LAST = "0000", "9999"
"""All days."""
_TOGETHER = 2000
"""Actions whose folders are noted at once: some 250 bytes in Redis each, until they are removed."""


class DeleteRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request to delete archived runs, which stays as a trace of what was deleted.

    Attributes:
        version: of the format.
        project: whose runs.
        domain: only of this one; empty: of all.
        runs: which ones, each as `project/domain/run@incarnation`; none: all that ended before `at`.
        since, until: the days on which they ended.
        by: who asked.
        at: when, ms since the epoch.
        reason: why, as he says.
        archived, actions: how many runs the archive had, and actions in them.
        stored: how many runs had ended and were in the store alone: they go when they are archived.
        held: how many are the source of others, whose objects stay as long as those.
        finished_at: when all was done for the first time, ms since the epoch; 0 = it was not yet.
    """

    version: int = VERSION
    project: str
    domain: str = ""
    runs: tuple[str, ...] = ()
    since: str = FIRST
    until: str = LAST
    by: Who = Who()
    at: int
    reason: str = ""
    archived: int = 0
    actions: int = 0
    stored: int = 0
    held: int = 0
    finished_at: int = 0

    @property
    def name(self) -> str:
        """Name of its objects; the same when it is finished."""
        asked = msgspec.structs.replace(self, finished_at=0)
        return f"{self.at:015d}-{hashlib.sha256(_encode(asked)).hexdigest()[:12]}.json"

    def means(self, row: Row) -> bool:
        """Tell whether a run is to go."""
        if self.runs:
            return str(RunLife(row.id, row.incarnation)) in self.runs
        return row.domain == (self.domain or row.domain) and row.ended_at < self.at


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(DeleteRequest).decode


def store_request(blobs: BlobStore, request: DeleteRequest) -> None:
    """Store what is asked for, and its trace: from now on a collector carries it out.

    Raises:
        BlobUnavailable: the server does not answer; it may have been stored.
    """
    for place in (DELETING, DELETED):
        with suppress(BlobExists):
            blobs.put(blobs.uri(place, request.name), _encode(request), overwrite=False)


def finish_request(blobs: BlobStore, request: DeleteRequest, now: int) -> DeleteRequest:
    """Say in the trace that all is done.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    done = msgspec.structs.replace(request, finished_at=request.finished_at or now)
    for place in (DELETED, DELETING):
        blobs.put(blobs.uri(place, request.name), _encode(done))
    return done


def forget_request(blobs: BlobStore, request: DeleteRequest) -> None:
    """Carry it out no more; the trace stays.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    blobs.delete([blobs.uri(DELETING, request.name)])


def requests_in(blobs: BlobStore, place: str = DELETING) -> Iterator[DeleteRequest]:
    """Read the requests that are carried out, or with `DELETED` all traces, oldest first; a damaged one is passed over.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    start, after = f"{blobs.uri(place)}/", ""
    while page := blobs.find(start, after=after):
        after = page[-1].uri
        for one in page:
            with suppress(msgspec.DecodeError, BlobNotFound, BlobCorrupt):
                yield _decode(blobs.get(one.uri))


class Deleter:
    """Carries requests out.

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

    def carry_out(self, request: DeleteRequest) -> bool:
        """Delete what is asked for; whether that was all: without `flush` a large rest is left to the collector.

        Raises:
            BlobUnavailable, StoreUnavailable: a server does not answer; it may be carried out again.
        """
        lives = [RunLife.parse(run) for run in request.runs]
        if lives and not self._forget(lives):
            return False
        found, _ = list_index(self._blobs, request.project, request.since, request.until)
        for one in found:
            rows = list(read_rows(self._blobs, [one]).rows.values())
            going = [row for row in rows if request.means(row)]
            if not going:
                continue
            if not lives and not self._forget([RunLife(row.id, row.incarnation) for row in going]):
                return False
            kept = [row for row in rows if not request.means(row)]
            if kept:
                write_part(self._blobs, request.project, day_of(kept[0].ended_at), kept)
            self._blobs.delete([one.uri])
        if lives or request.finished_at:
            return True
        return self._forget(list(self._unlisted(request)))

    def _unlisted(self, request: DeleteRequest) -> Iterator[RunLife]:
        """Find runs of a project that no line of the index tells of, and for which no collector is about to write one."""
        for life in _lives_in(self._blobs, request):
            ended = self._ended(life)
            if ended < request.at and self._store.counts(life.run) is None:
                yield life

    def _ended(self, life: RunLife) -> int:
        try:
            run = Archive(self._blobs).read_run(life.run, life.incarnation)
        except ArchiveUnreadable:
            return 0
        return run.ended_at if run is not None else 0

    def _forget(self, lives: Sequence[RunLife]) -> bool:
        """Note what belongs to runs alone, then remove them; False: they are too many to be noted at once."""
        part: list[RunLife] = []
        notes: dict[int, dict[Life, Folders]] = {}
        spans: dict[RunId, list[tuple[int, int]]] = {}
        for life in lives:
            part.append(life)
            self._read(life, notes, spans)
            if sum(map(len, notes.values())) >= _TOGETHER:
                if not self._remove(part, notes, spans):
                    return False
                part, notes, spans = [], {}, {}
        return self._remove(part, notes, spans)

    def _read(
        self,
        life: RunLife,
        notes: dict[int, dict[Life, Folders]],
        spans: dict[RunId, list[tuple[int, int]]],
    ) -> None:
        try:
            run = Archive(self._blobs).read_run(life.run, life.incarnation)
        except ArchiveUnreadable:
            return  # nobody knows what it named
        if run is None:
            return
        spans.setdefault(life.run, []).append((run.created_at, run.ended_at))
        own = notes.setdefault(self._store.shard_of(life.run), {})
        own.update((Life.of(action), folders_of(self._blobs, action)) for action in run.actions.values())

    def _remove(
        self,
        lives: Sequence[RunLife],
        notes: Mapping[int, Mapping[Life, Folders]],
        spans: Mapping[RunId, Sequence[tuple[int, int]]],
    ) -> bool:
        count = sum(map(len, notes.values()))
        if self._flush is None and count > self._left:
            return False
        self._left -= count
        for shard, folders in notes.items():
            self._store.note_garbage(shard, folders)
            drop_events(self._blobs, shard, spans)
        self._blobs.delete([self._blobs.uri(run_path(life.run, life.incarnation)) for life in lives])
        if self._flush is not None:
            for shard in notes:
                self._flush(shard)
        return True


def _lives_in(blobs: BlobStore, request: DeleteRequest) -> Iterator[RunLife]:
    """List all runs of a project, or of one domain of it, that have an object."""
    folder = f"{blobs.uri(RUNS)}/"
    start = (
        f"{folder}{request.project}/{request.domain}/" if request.domain else f"{folder}{request.project}/"
    )
    after = ""
    while page := blobs.find(start, after=after):
        after = page[-1].uri
        for one in page:
            yield RunLife(
                RunId(*one.uri.removeprefix(folder).rpartition("@")[0].split("/")), incarnation_in(one.uri)
            )

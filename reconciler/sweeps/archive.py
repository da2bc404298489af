"""Part of the collector: archive ended runs before they are forgotten.

Sealed, read, written, indexed, marked, in this order: a death anywhere is followed by the same again, and what is not marked
is not collected. What somebody asked to have deleted is taken back before it is marked: until then it can be read from the
store, and never from the archive alone. S3 away means that nothing is marked: Redis keeps it, and a later pass catches up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from reconciler import metrics
from reconciler.api.errors import ArchiveUnreadable, BlobCorrupt, BlobNotFound, BlobUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.archive.archive import Archive
from reconciler.archive.compaction import compact
from reconciler.archive.deleting import Deleter
from reconciler.archive.index import Row, row_of, write_rows
from reconciler.archive.segments import Segments
from reconciler.settings import Settings
from reconciler.stores.archiving import RawAction, RawRun, SealedRun
from reconciler.stores.base import Store
from reconciler.stores.objects import BlobStore
from reconciler.sweeps.expire import EVERY, expire

log = structlog.get_logger(__name__)
_LOOK = 500
"""Ended actions one script looks at."""
_AT_ONCE = 8
"""Runs read and written at the same time: servers take milliseconds for each."""
_TOGETHER = 1000
"""Runs that are indexed and marked together."""
_COMPACTING = 30_000
"""How long nobody else puts the index together, ms: two at once would lose nothing, and read everything twice."""
_TERMINAL = {str(int(phase)) for phase in ActionPhase if phase.is_terminal()}
Days = set[tuple[str, str]]
"""Projects and days whose index grew."""


def archive_all(store: Store, blobs: BlobStore, settings: Settings, before: int) -> int:
    """Archive what ended before that time; return how many runs. While S3 is away, log it and leave the rest for later."""
    archiver = Archiver(store, blobs, settings)
    archived = 0
    days: Days = set()
    try:
        for shard in range(store.shards):
            count, grown = archiver.archive(shard, before)
            archived, days = archived + count, days | grown
        if days and store.take_turn("compact", _COMPACTING):
            compact(blobs, days)
        if store.take_turn("expire", EVERY):
            old = store.now() - int(settings.archive.total_seconds() * 1000)
            if expired := expire(store, blobs, old, objects=settings.collect_objects):
                log.info("archive.expired", runs=expired)
        metrics.archive_passed("done")
    except BlobUnavailable as error:
        log.warning("archive.unavailable", archived=archived, error=str(error))
        metrics.archive_passed("unavailable")
    return archived


class Archiver:
    """Archives what has ended, shard by shard.

    Args:
        store: the records.
        blobs: where the archive lies.
        settings: how long events are kept, and whether the server checks digests.
    """

    def __init__(self, store: Store, blobs: BlobStore, settings: Settings) -> None:
        self._store = store
        self._blobs = blobs
        self._archive = Archive(blobs, read_back=settings.s3_checksum == "none")
        self._deleter = Deleter(
            store, blobs, flush=lambda _: None
        )  # by the pass of the collector this one belongs to
        self._kept = int(settings.events_retention.total_seconds() * 1000)

    def archive(self, shard: int, before: int) -> tuple[int, Days]:
        """Archive the runs of a shard that ended before that time; return how many, and the days on which they ended.

        Raises:
            BlobUnavailable, StoreUnavailable: a server does not answer; what was not marked is done again.
        """
        segments = Segments(self._store, self._blobs, shard)
        if self._store.take_turn(f"spill-{shard:02d}", max(self._kept // 8, 1)):
            self._spill(shard, segments)
        archived = 0
        days: Days = set()
        for runs in self._sealed(shard, before):
            rows = self._written(runs, segments)
            days |= write_rows(self._blobs, [row for _, row in rows])
            if taken := self._deleter.take_back([row for _, row in rows]):
                log.info("archive.not_kept", runs=taken)
            self._store.set_archived(shard, [sealed for sealed, _ in rows])
            archived += len(rows)
            for _, row in rows:
                metrics.archived("archived", (before - row.ended_at) / 1000)
        return archived, days

    def _spill(self, shard: int, segments: Segments) -> None:
        """Store old events of runs that live for long; none of one that was deleted while they were written."""
        if segments.spill(self._store.now() - self._kept // 2):
            self._deleter.heed(shard)

    def _sealed(self, shard: int, before: int) -> Iterator[list[SealedRun]]:
        """Find runs that are sealed and not archived, each once, many at a time."""
        seen: dict[SealedRun, None] = {}
        done = looked = 0
        count = _LOOK
        while count == _LOOK:
            found, count = self._store.seal(shard, before=before, limit=_LOOK, after=looked)
            looked += count
            seen.update(dict.fromkeys(found))
            if len(seen) - done >= _TOGETHER:
                yield list(seen)[done:]
                done = len(seen)
        if len(seen) > done:
            yield list(seen)[done:]

    def _written(self, runs: Sequence[SealedRun], segments: Segments) -> list[tuple[SealedRun, Row]]:
        with ThreadPoolExecutor(min(_AT_ONCE, len(runs)), thread_name_prefix="archive") as pool:
            rows = pool.map(lambda sealed: self._write(sealed, segments), runs)
            return [(sealed, row) for sealed, row in zip(runs, rows, strict=True) if row is not None]

    def _write(self, sealed: SealedRun, segments: Segments) -> Row | None:
        """Write one run; None: it is not ready, is gone, or cannot be archived, which is logged and stops no other run."""
        try:
            run = self._store.recall(sealed.run)
            if run is None or run.incarnation != sealed.incarnation or not self._is_ready(run):
                return None
            run = segments.completed(run)
            written = self._archive.write(run)
            return row_of(run, written.header, written.size)
        except (ArchiveUnreadable, BlobCorrupt, BlobNotFound, ValueError) as error:
            log.warning("archive.refused", run=str(sealed.run), error=str(error))
            metrics.archived("refused")
            return None

    def _is_ready(self, run: RawRun) -> bool:
        """Tell whether all actions of a run have ended and owe no clean-up; otherwise they are looked at again."""
        waiting = [action for action in run.actions if not _is_over(action)]
        if waiting:
            self._store.wake(run.run.action(action.name) for action in waiting)
        return not waiting


def _is_over(action: RawAction) -> bool:
    return action.fields.get("p") in _TERMINAL and "f" not in action.fields

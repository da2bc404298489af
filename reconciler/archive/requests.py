"""Requests to delete from the archive: they stay as traces, and every writer of the archive obeys them (R91).

    _archive/deleting/<time>-<digest>.json   what is asked for; until nothing can bring it back
    _archive/deleted/<time>-<digest>.json    the trace: what was asked for, by whom, how many runs; it is kept

A request is stored before anything goes. Whoever writes into the archive (the collector that archives a run, or compacts the
index, somebody who deletes another run) looks for requests after he has written: of one that was stored before he takes back
what it means, and who stores one later finds what was written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from reconciler.api.action import RunId
from reconciler.api.audit import Who
from reconciler.api.errors import BlobCorrupt, BlobExists, BlobNotFound
from reconciler.archive.index import Row, write_part
from reconciler.archive.layout import DELETED, DELETING
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import FOUND_AT_ONCE, BlobStore

VERSION = 1
"""Version of the format of a request."""
FIRST, LAST = "0001-01-01", "9999-12-31"
"""All days."""


class DeleteRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request to delete archived runs, which stays as a trace of what was deleted.

    Attributes:
        version: of the format.
        project: whose runs.
        domain: only of this one; empty: of all.
        runs: which ones, each as `project/domain/run@incarnation`; none: all that ended before `at`.
        lost: those of which the archive had nothing but a line in the index.
        since, until: the days on which they ended.
        by: who asked.
        at: when, ms since the epoch.
        reason: why, as he says.
        archived: how many runs lay in the archive, also damaged ones, and such as the index has lost.
        stored: how many others had ended and were in the store alone.
        actions: how many all of these have; of a damaged run what can be told.
        alive: how many runs of a project had not ended: they are not meant.
        held: how many are the source of others, whose objects stay as long as those.
        damaged: how many could not be read whole: what lies in folders of theirs goes; what they named elsewhere is left.
        too_new: how many a newer release archived: they stay until that one's collector deletes them.
        finished_at: when all was done for the first time, ms since the epoch; 0 = it was not yet.
    """

    version: int = VERSION
    project: str
    domain: str = ""
    runs: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    since: str = FIRST
    until: str = LAST
    by: Who = Who()
    at: int
    reason: str = ""
    archived: int = 0
    stored: int = 0
    actions: int = 0
    alive: int = 0
    held: int = 0
    damaged: int = 0
    too_new: int = 0
    finished_at: int = 0

    @property
    def name(self) -> str:
        """Name of its objects; the same when it is finished."""
        asked = msgspec.structs.replace(self, finished_at=0, damaged=0, too_new=0)
        return f"{self.at:015d}-{hashlib.sha256(_encode(asked)).hexdigest()[:12]}.json"

    def means(self, row: Row) -> bool:
        """Tell whether the request is for the run of this line."""
        return self.is_for(RunLife(row.id, row.incarnation), row.ended_at)

    def is_for(self, life: RunLife, ended_at: int) -> bool:
        """Tell whether the request is for this run, which ended at that time (ms since the epoch)."""
        if self.runs:
            plain = RunLife(life.run, life.incarnation.partition("~")[0])  # one told apart is meant, too
            return str(plain) in self.runs or str(life) in self.runs
        return self.covers(life.run) and ended_at < self.at

    def covers(self, run: RunId) -> bool:
        """Tell whether a run belongs to the project, and to the domain if one is named."""
        return run.project == self.project and run.domain == (self.domain or run.domain)


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(DeleteRequest).decode


def store_request(blobs: BlobStore, request: DeleteRequest) -> None:
    """Store a request and its trace: from now on a collector carries it out.

    Raises:
        BlobUnavailable: the server does not answer; it may have been stored.
    """
    for place in (DELETING, DELETED):
        with suppress(BlobExists):
            blobs.put(blobs.uri(place, request.name), _encode(request), overwrite=False)


def deletion_of(blobs: BlobStore, life: RunLife, ended_at: int) -> DeleteRequest | None:
    """Find a request to delete this run, which ended at that time. Costs one request when nobody has asked anything.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    return next((request for request in requests_in(blobs) if request.is_for(life, ended_at)), None)


def finish_request(blobs: BlobStore, request: DeleteRequest, now: int) -> DeleteRequest:
    """Note in the trace that all is done.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    done = msgspec.structs.replace(request, finished_at=request.finished_at or now)
    for place in (DELETED, DELETING):
        blobs.put(blobs.uri(place, request.name), _encode(done))
    return done


def note_unreadable(blobs: BlobStore, request: DeleteRequest, damaged: int, too_new: int) -> DeleteRequest:
    """Note in the trace, if it is news, how many runs could not be read.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    told = msgspec.structs.replace(request, damaged=max(request.damaged, damaged), too_new=too_new)
    if told != request:
        for place in (DELETED, DELETING):
            blobs.put(blobs.uri(place, request.name), _encode(told))
    return told


def forget_request(blobs: BlobStore, request: DeleteRequest) -> None:
    """Stop carrying a request out; its trace stays.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    blobs.delete([blobs.uri(DELETING, request.name)])


def requests_in(blobs: BlobStore, place: str = DELETING) -> Iterator[DeleteRequest]:
    """Read the open requests, or with `DELETED` all traces, oldest first; damaged ones are skipped.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    start, after = f"{blobs.uri(place)}/", ""
    while page := blobs.find(start, after=after):
        after = page[-1].uri
        for one in page:
            with suppress(msgspec.DecodeError, BlobNotFound, BlobCorrupt):
                yield _decode(blobs.get(one.uri))
        if len(page) < FOUND_AT_ONCE:
            return


def unwanted(blobs: BlobStore, rows: Sequence[Row]) -> list[Row]:
    """Find which of these runs somebody has asked to delete. Costs one request when nobody has.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    asked = list(requests_in(blobs))
    return [row for row in rows if any(request.means(row) for request in asked)]


def write_wanted(blobs: BlobStore, project: str, day: str, rows: Sequence[Row]) -> str:
    """Write lines of one day, except those of runs whose deletion is asked for, even if it was asked for only now.

    Returns:
        The URI of their object; empty when there is no line to write.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    before: list[str] = []
    while rows:
        uri = write_part(blobs, project, day, rows)
        blobs.delete([each for each in before if each != uri])
        gone = {row.key for row in unwanted(blobs, rows)}
        if not gone:
            return uri
        before, rows = [uri], [row for row in rows if row.key not in gone]
    blobs.delete(before)
    return ""

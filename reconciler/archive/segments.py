"""Move old events of long runs to the archive before the results channel forgets them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import msgspec
import structlog

from reconciler.api.action import RunId
from reconciler.api.errors import BlobCorrupt, BlobExists, BlobNotFound
from reconciler.archive.layout import EVENTS, SUFFIX
from reconciler.archive.packing import Unpacked, pack, unpack
from reconciler.stores.archiving import OldEvents, RawAction, RawRun
from reconciler.stores.base import Store
from reconciler.stores.events import encode_event
from reconciler.stores.objects import BlobStore, Found
from reconciler.stores.records import event_count

log = structlog.get_logger(__name__)
_PAGE = 2000
"""Events one script looks at: some milliseconds."""
_MOST = 20_000
"""Events of one object."""
_LOOK = 1000
_NAME = re.compile(r"\d+-\d+_\d+-\d+" + re.escape(SUFFIX))
"""A segment is named after the first and the last place in the channel that its events had."""


class _Key(msgspec.Struct):
    """The part of an event that tells it from others."""

    id: tuple[str, str, str, str]
    sequence: int = 0


class _Line(msgspec.Struct):
    at: str
    event: msgspec.Raw


_key = msgspec.json.Decoder(_Key)
_line = msgspec.json.Decoder(_Line)


class Segments:
    """The segments of one shard."""

    def __init__(self, store: Store, blobs: BlobStore, shard: int) -> None:
        self._store = store
        self._blobs = blobs
        self._shard = shard
        self._folder = _folder(blobs, shard)

    def spill(self, before: int) -> int:
        """Store events older than `before` that a run in the store will need; return how many.

        Whoever dies in between stores some of them again, in another object: events are told apart by their sequence.

        Raises:
            BlobUnavailable, StoreUnavailable: a server does not answer.
        """
        spilled, after = 0, ""
        kept: list[tuple[str, str]] = []
        while True:
            page = self._store.old_events(self._shard, before=before, limit=_PAGE, after=after)
            kept += page.events
            after = page.last
            if len(kept) < _MOST and page.more:
                continue
            if kept:
                self._write(kept)
                spilled, kept = spilled + len(kept), []
            self._store.set_spilled(self._shard, after)
            if not page.more:
                self._drop(page, before)
                return spilled

    def _write(self, events: list[tuple[str, str]]) -> None:
        lines = [f'{{"kind":"event","at":"{at}","event":{event}}}' for at, event in events]
        uri = f"{self._folder}{events[0][0]}_{events[-1][0]}{SUFFIX}"
        with suppress(BlobExists):  # the same events, stored by somebody who died before he could say so
            self._blobs.put(uri, pack(lines), overwrite=False)

    def _drop(self, page: OldEvents, before: int) -> None:
        """Remove segments that are older than every run of the shard."""
        needed = page.oldest or before
        ours, foreign = list[str](), list[str]()
        for one in _listed(self._blobs, self._folder):
            (ours if _is_ours(one, self._folder) else foreign).append(one.uri)
        if foreign:
            log.warning("archive.foreign", uri=foreign[0], objects=len(foreign))
        uris = [uri for uri in ours if _last(uri) < needed]
        if uris:
            self._blobs.delete(uris)

    def completed(self, run: RawRun) -> RawRun:
        """Add all its events to a run; older ones are looked up if an action has more than its record knows.

        Raises:
            BlobUnavailable, StoreUnavailable: a server does not answer.
        """
        if all(len(action.events) >= _published(action) for action in run.actions):
            return run
        found: dict[str, dict[int, str]] = {action.name: {} for action in run.actions}
        _sort_into(found, run, self._spilled(run))
        _sort_into(found, run, (event for action in run.actions for event in action.events))
        if any(len(found[action.name]) < _published(action) for action in run.actions):
            _sort_into(found, run, self._in_channel(run))
        return msgspec.structs.replace(
            run,
            actions=[
                msgspec.structs.replace(
                    action, events=[event for _, event in sorted(found[action.name].items())]
                )
                for action in run.actions
            ],
        )

    def _spilled(self, run: RawRun) -> Iterator[str]:
        for segment in _found(self._blobs, self._folder):
            if _last(segment.uri) >= run.created_at:
                for line in _read(self._blobs, segment.uri).lines:
                    try:
                        one = _line.decode(line)
                    except msgspec.DecodeError:
                        continue
                    if _at(one.at) >= run.created_at:
                        yield bytes(one.event).decode()

    def _in_channel(self, run: RawRun) -> Iterator[str]:
        """Read the channel from the creation of the run on: for actions with very many events."""
        after = f"{max(run.created_at - 1, 0)}-0"
        while page := self._store.channel(self._shard, after, _LOOK):
            after = page[-1].cursor
            yield from (
                encode_event(entry.event).decode()
                for entry in page
                if entry.event.id.run_id == run.run and _at(entry.cursor) >= run.created_at
            )


def _sort_into(found: dict[str, dict[int, str]], run: RawRun, events: Iterable[str]) -> None:
    mine = (run.run.project, run.run.domain, run.run.run)
    for event in events:
        key = _key.decode(event)
        if key.id[:3] == mine and key.id[3] in found:
            found[key.id[3]].setdefault(key.sequence, event)


def _published(action: RawAction) -> int:
    return event_count(action.fields.get("e", "0").encode())


def _at(cursor: str) -> int:
    return int(cursor.partition("-")[0])


def drop_events(
    blobs: BlobStore,
    shard: int,
    unneeded: Callable[[RunId, int], bool],
    *,
    since: int = 0,
    written: float = 0.0,
) -> None:
    """Remove the events of deleted runs from the segments of a shard; an unreadable segment goes as a whole.

    Args:
        blobs: where the archive lies.
        shard: which one.
        unneeded: tells of a run and the time of an event of it, ms, whether that event is to go.
        since: segments whose last event is older are passed over, ms.
        written: segments that were written before are passed over, seconds since the epoch.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    for one in _found(blobs, _folder(blobs, shard)):
        if _last(one.uri) < since or one.at < written:
            continue
        read = _read(blobs, one.uri)
        kept = [line for line in read.lines if not _goes(line, unneeded)]
        if kept and (read.lost or len(kept) < len(read.lines)):  # in what is lost there may be some of them
            blobs.put(one.uri, pack(line.decode() for line in kept))
        elif not kept:
            blobs.delete([one.uri])


def _goes(line: bytes, unneeded: Callable[[RunId, int], bool]) -> bool:
    """Tell whether a line is dropped; not one of a newer release."""
    try:
        one = _line.decode(line)
        return unneeded(RunId(*_key.decode(one.event).id[:3]), _at(one.at))
    except msgspec.DecodeError:
        return False


def _read(blobs: BlobStore, uri: str) -> Unpacked:
    """Read a segment: what can be read of it, and nothing of one that somebody removed meanwhile."""
    try:
        found = unpack(blobs.get(uri))
    except BlobNotFound:
        return Unpacked([], 0)
    except BlobCorrupt:
        found = Unpacked([], 1)
    if found.lost:
        log.warning("archive.damaged", uri=uri, error="events of runs that live for long are missing")
    return found


def _folder(blobs: BlobStore, shard: int) -> str:
    return f"{blobs.uri(EVENTS, str(shard))}/"


def _found(blobs: BlobStore, folder: str) -> Iterator[Found]:
    """List the segments of a shard; what else lies there is none of ours, so nobody reads or removes it."""
    return (one for one in _listed(blobs, folder) if _is_ours(one, folder))


def _is_ours(one: Found, folder: str) -> bool:
    return _NAME.fullmatch(one.uri.removeprefix(folder)) is not None


def _listed(blobs: BlobStore, folder: str) -> Iterator[Found]:
    """List the objects in the folder of a shard."""
    after = ""
    while page := blobs.find(folder, after=after):
        after = page[-1].uri
        yield from page


def _last(uri: str) -> int:
    """Read the time of its last event from the name of a segment, ms."""
    return int(uri.rpartition("_")[2].partition("-")[0])

"""Page through the index of the archive, newest ends first, for readers that come back often, such as a browser.

A day is the smallest piece: its runs lie in several objects, each in the order of their ends. Objects of the index never
change, so their bytes are kept; which there are is asked again after some seconds.
"""

from __future__ import annotations

import heapq
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from threading import Lock
from typing import Final

import msgspec

from reconciler.api.action import RunId
from reconciler.api.errors import BlobCorrupt, BlobNotFound, BlobUnavailable, InvalidInput
from reconciler.archive.index import Row, list_index, list_projects, read_row
from reconciler.archive.layout import day_of
from reconciler.archive.packing import unpack
from reconciler.core.visible import visible
from reconciler.stores.objects import BlobStore, Found

REQUESTS: Final = 48
"""Requests to S3 after which a page ends where it stands; the objects of one day are always read together."""
PROJECTS: Final = 20
"""Projects that are looked through when none is named."""
_FOR: Final = 10.0
"""Seconds for which a list of objects is good."""
_BYTES: Final = 24 * 1024 * 1024
"""Bytes of objects that are kept."""
_AT_ONCE: Final = 8
_WINDOWS: Final = (2, 30, 365)
"""Days listed at once, going back; then all that is left."""
_FIRST: Final = "0001-01-02"
_DAY: Final = 86_400_000
_TRIES: Final = 5
"""How often objects of the index may be replaced while they are read."""


class Place(msgspec.Struct, frozen=True, order=True):
    """The place where a page ends. What follows ended earlier, or at the same time with a name that sorts before.

    Attributes:
        ended: when the last run of the page did, ms since the epoch.
        key: of that run; empty: what follows ended before that time.
    """

    ended: int
    key: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write it as `Place.parse` reads it."""
        name = f"{'/'.join(self.key[:3])}@{self.key[3]}" if self.key else ""
        return f"archive:{self.ended}:{name}"

    @property
    def day(self) -> str:
        """The day on which the next run ended, at the latest."""
        return day_of(self.ended if self.key else self.ended - 1)

    @classmethod
    def first(cls, now: int) -> Place:
        """Make the place before all runs.

        Args:
            now: ms since the epoch; nothing ends a day later.
        """
        return cls(now + _DAY)

    @classmethod
    def end_of(cls, day: str) -> Place:
        """Make the place behind all runs of a day."""
        return cls(int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000))

    @classmethod
    def of(cls, row: Row) -> Place:
        """Make the place behind a run."""
        return cls(row.ended_at, row.key)

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """Read a place; None when the text is not one.

        Raises:
            InvalidInput: it cannot be read.
        """
        kind, _, rest = text.partition(":")
        if kind != "archive":
            return None
        ended, _, name = rest.partition(":")
        if not (ended.isascii() and ended.isdigit() and 6 < len(ended) < 15):
            raise InvalidInput(
                f"{visible(text[:80])!r} is no place in the archive; use `next` of the answer before"
            )
        if not name:
            return cls(int(ended))
        run, _, incarnation = name.rpartition("@")
        found = RunId.parse(run)
        return cls(int(ended), (found.project, found.domain, found.run, incarnation))


class Page(msgspec.Struct):
    """A part of the archived runs.

    Attributes:
        rows: last end first.
        next: where to go on; None: these are all.
        requests: to S3.
        searched: lines that were read.
        damaged: URIs of objects of which something cannot be read.
        left_out: projects that were not looked at, as there are too many.
    """

    rows: list[Row] = []
    next: Place | None = None
    requests: int = 0
    searched: int = 0
    damaged: list[str] = []
    left_out: list[str] = []


class _End(msgspec.Struct):
    ended_at: int


_end = msgspec.json.Decoder(_End)


class Asked(msgspec.Struct, kw_only=True):
    """A query for a page of archived runs.

    Attributes:
        wanted: chooses among them.
        limit: most runs.
        now: ms since the epoch; nothing ends a day later.
        words: pieces of text, each of which stands in the line of a run that is wanted, in small letters; so most lines
            need not be read.
        projects: whose runs; of all when empty.
        since: none that ended before that day, ms since the epoch.
        after: where the page before ended.
    """

    wanted: Callable[[Row], bool]
    limit: int
    now: int
    words: Sequence[bytes] = ()
    projects: Sequence[str] = ()
    since: int = 0
    after: Place | None = None


class _ReplacedError(Exception):
    """An object of the index is gone: other objects have its lines now."""


class RecentRuns:
    """Reads archived runs in pages, last ends first. Threads may share it.

    Args:
        blobs: where the archive lies.
        clock: seconds, growing.
    """

    def __init__(self, blobs: BlobStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._blobs = blobs
        self._clock = clock
        self._lock = Lock()
        self._named: tuple[float, list[str]] = (-_FOR, [])
        self._lists: dict[tuple[str, str, str], tuple[float, list[Found]]] = {}
        self._bytes: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def page(self, asked: Asked) -> Page:
        """Read the next runs that fit.

        Raises:
            BlobUnavailable: the server does not answer.
        """
        for _ in range(_TRIES):
            with suppress(_ReplacedError):
                return self._page(asked)
        raise BlobUnavailable(
            "the index of the archive is rewritten all the time; ask again, or for fewer days"
        )

    def _page(self, asked: Asked) -> Page:
        page = Page()
        names = list(asked.projects) or self._projects(page)
        page.left_out, names = names[PROJECTS:], names[:PROJECTS]
        last = (asked.after or Place.first(asked.now)).day
        for day, found in self._days(page, names, day_of(asked.since) if asked.since else _FIRST, last):
            full = self._take(page, asked, day, found)
            if not full and page.requests >= REQUESTS:
                page.next = Place.end_of(day)
            if full or page.next:
                break
        return page

    def _projects(self, page: Page) -> list[str]:
        known, now = self._named, self._clock()
        if now - known[0] >= _FOR:
            names, requests = list_projects(self._blobs, PROJECTS * 2)
            page.requests += requests
            known = self._named = (now, names)
        return known[1]

    def _days(
        self, page: Page, projects: Sequence[str], first: str, last: str
    ) -> Iterator[tuple[str, list[Found]]]:
        """List the days that have runs, with their objects, the last day first."""
        if not projects:
            return
        for since, until in _windows(first, last):
            days: dict[str, list[Found]] = {}
            for project in projects:
                key = (project, since, until)
                for one in self._cached(key, lambda key=key: list_index(self._blobs, *key), page):  # type: ignore[misc]  # a lambda
                    days.setdefault(one.uri.rsplit("/", 2)[1], []).append(one)
            yield from sorted(days.items(), reverse=True)

    def _cached(
        self, key: tuple[str, str, str], ask: Callable[[], tuple[list[Found], int]], page: Page
    ) -> list[Found]:
        known, now = self._lists.get(key), self._clock()
        if known is not None and now - known[0] < _FOR:
            return known[1]
        found, requests = ask()
        page.requests += requests
        with self._lock:
            self._lists = {name: one for name, one in self._lists.items() if now - one[0] < _FOR}
            self._lists[key] = (now, found)
        return found

    def _take(self, page: Page, asked: Asked, day: str, found: Sequence[Found]) -> bool:
        """Add the runs of a day; tell whether the page is full."""
        parts = [
            _backwards(one.uri, data, asked, page)
            for one, data in zip(found, self._read(found, page), strict=True)
        ]
        for row in heapq.merge(*parts, key=Place.of, reverse=True):
            if page.rows and page.rows[-1].key == row.key:
                continue  # two objects tell of it
            if len(page.rows) == asked.limit:
                page.next = Place.of(page.rows[-1])
                return True
            page.rows.append(row)
        if len(page.rows) == asked.limit:
            page.next = Place.end_of(day)
        return page.next is not None

    def _read(self, found: Sequence[Found], page: Page) -> list[bytes]:
        """Read the bytes of objects, side by side.

        Raises:
            _ReplacedError: one was put together with others meanwhile.
        """
        with self._lock:
            known = {one.uri: self._bytes[one.uri] for one in found if one.uri in self._bytes}
        missing = [one.uri for one in found if one.uri not in known]
        page.requests += len(missing)
        if missing:
            with ThreadPoolExecutor(min(_AT_ONCE, len(missing)), thread_name_prefix="archive") as pool:
                known.update(zip(missing, pool.map(self._get, missing), strict=True))
        with self._lock:
            for uri, data in known.items():
                self._keep(uri, data)
        return [known[one.uri] for one in found]

    def _get(self, uri: str) -> bytes:
        try:
            return self._blobs.get(uri)
        except BlobNotFound:
            with self._lock:
                self._lists.clear()
            raise _ReplacedError from None
        except BlobCorrupt:
            return b""

    def _keep(self, uri: str, data: bytes) -> None:
        """Keep an object's bytes, as the most recently used."""
        self._size += len(data) - len(self._bytes.pop(uri, b""))
        self._bytes[uri] = data
        while self._size > _BYTES:
            self._size -= len(self._bytes.popitem(last=False)[1])


def _backwards(uri: str, data: bytes, asked: Asked, page: Page) -> Iterator[Row]:
    """Yield the matching runs of an object, the last end first: its lines are sorted by their ends."""
    unpacked = unpack(data)
    lines, lost = unpacked.lines, unpacked.lost
    for number in range(_until(lines, asked.after), 0, -1):
        line = lines[number - 1]
        page.searched += 1
        if asked.words and not _has(line.lower(), asked.words):
            continue
        try:
            row = read_row(line)
        except msgspec.DecodeError:
            lost += 1
            continue
        if asked.wanted(row) and (asked.after is None or Place.of(row) < asked.after):
            yield row
    page.damaged += [uri] * bool(lost)


def _has(line: bytes, words: Sequence[bytes]) -> bool:
    return all(word in line for word in words)


def _until(lines: list[bytes], place: Place | None) -> int:
    """Count the lines of an object that may come after a place."""
    if place is None:
        return len(lines)
    try:
        return bisect_right(lines, place.ended, key=lambda line: _end.decode(line).ended_at)
    except msgspec.DecodeError:
        return len(lines)


def _windows(first: str, last: str) -> Iterator[tuple[str, str]]:
    until = date.fromisoformat(last)
    for days in _WINDOWS:
        since = until - timedelta(days=days)
        if since.isoformat() <= first:
            break
        yield since.isoformat(), until.isoformat()
        until = since - timedelta(days=1)
    if first <= until.isoformat():
        yield first, until.isoformat()

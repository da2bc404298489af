"""Server-sent events: what changed in a run, as soon as it did, in small pieces."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from reconciler.api.action import RunId
from reconciler.api.errors import InvalidInput, ReconcilerError
from reconciler.core.documents import Document
from reconciler.core.visible import visible
from worker.dashboard.answers import Api
from worker.dashboard.changes import changes_document
from worker.dashboard.persons import client

_MOST: Final = 32
"""Streams of one Flower; each takes a look at the records when its run changes."""
_MOST_OF_ONE: Final = 16
"""Streams of one login, so that its pages do not keep all others from theirs."""
_PACE: Final = 0.4
"""Seconds between two pieces of a stream, at least: a busy run is told in larger ones."""
_BUSY: Final = 60
"""Actions in a piece from which on the next one comes after `_SLOW` seconds: each piece is read and drawn."""
_SLOW: Final = 0.8
_LOOK: Final = 5.0
"""How often a stream looks although nothing woke it, seconds: a notification may be lost."""

_CURSOR: Final = re.compile(r"[0-9]{1,19}-[0-9]{1,19}", re.ASCII)


class _Open:
    """Counts the open streams, of all and of each login."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    def refused_because(self, person: str) -> str:
        """Say why this login gets no stream now; empty when it does. Without logins there is one limit for all."""
        if self._of.total() >= _MOST:
            return f"{_MOST} pages are open and live; close some"
        if person and self._of[person] >= _MOST_OF_ONE:
            return f"{_MOST_OF_ONE} pages of your login are open and live; close some"
        return ""

    @contextmanager
    def one(self, person: str) -> Iterator[None]:
        """Count a stream while it is open."""
        self._of[person] += 1
        try:
            yield
        finally:
            self._of[person] -= 1
            if not self._of[person]:
                del self._of[person]


_OPEN: Final = _Open()


def read_cursor(text: str) -> str:
    """Check a place in the results channel.

    Raises:
        InvalidInput: it is none: a stream from there would stay empty for ever.
    """
    if not _CURSOR.fullmatch(text):
        raise InvalidInput(
            f"cursor {visible(text[:80])!r} is no place in the changes; use `cursor` of the run, or the id of an event"
        )
    return text


def _read_brief(text: str) -> bool:
    if text not in {"", "yes"}:
        raise InvalidInput(f"brief must be yes, or be left out, got {visible(text[:80])!r}")
    return text == "yes"


class Live(Api):
    """`GET /reconciler/api/runs/P/D/R/live`: server-sent events named `changes`, from a cursor on."""

    KNOWS = ("cursor", "brief")

    async def get(self, path: str) -> None:
        """Stream until the browser goes away."""
        try:
            run = RunId.parse(path)
            cursor = read_cursor(
                self.request.headers.get("Last-Event-ID") or self.query().get("cursor", "0-0")
            )
            brief = _read_brief(self.query().get("brief", ""))
        except ReconcilerError as error:
            self.answer(self.refused(error))
            return
        if why := _OPEN.refused_because(self.person):
            raise HTTPError(503, why)
        try:
            await self.blocking(lambda: client().counts(run))
        except ReconcilerError as error:
            self.answer(self.refused(error))
            return
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")
        with _OPEN.one(self.person):
            try:
                await self._stream(run, cursor, brief=brief)
            except (StreamClosedError, ReconcilerError):
                return  # the browser has gone, or comes again by itself

    async def _stream(self, run: RunId, cursor: str, *, brief: bool) -> None:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not woken.is_set():  # a busy run calls for each commit
                loop.call_soon_threadsafe(woken.set)

        subscription = client().store.subscribe(run, wake)
        await self.blocking(subscription.__enter__)
        try:
            while not self._gone:
                woken.clear()
                found = await self.blocking(partial(changes_document, client(), run, cursor, brief=brief))
                cursor = found["cursor"]
                await self._send(found)
                if found["gone"]:
                    return
                changed = len(found["actions"]) + len(found["brief"])
                await asyncio.sleep(_SLOW if changed >= _BUSY else _PACE)
                if not found["more"]:
                    await _wait(woken)
        finally:
            await self.blocking(lambda: subscription.__exit__(None, None, None))

    _gone = False

    def on_connection_close(self) -> None:
        """Stop, because nobody reads any more."""
        self._gone = True

    async def _send(self, document: Document) -> None:
        data = msgspec.json.encode(document).decode()
        self.write(f"id: {document['cursor']}\nevent: changes\ndata: {data}\n\n")
        await self.flush()


async def _wait(woken: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(woken.wait(), _LOOK)
    except TimeoutError:
        return

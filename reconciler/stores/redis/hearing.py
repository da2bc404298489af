"""Hear of work without a message: who has just worked stands by, and the script that makes more work tells him.

A message of Celery costs sender, broker and worker more than the step it asks for. So a process that has nothing to do keeps
its slot for a while and notes its channel where the scripts look that would have a message sent. They publish there, and ask
for no message if somebody hears it. What is told may be lost like a message, and the resync sweep heals both.
"""

from __future__ import annotations

import math
import time
import uuid
from contextlib import closing, suppress
from typing import Any

import redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from reconciler.api.errors import ReconcilerError
from reconciler.stores.redis.connect import connect, explained
from reconciler.stores.redis.core import RedisCore
from reconciler.stores.redis.scripts import script

LIFE = 1500
"""How long a note counts unless it is made again, ms: what is told to a frozen process is lost."""
_AGAIN = 0.5
"""Seconds after which a note is made again."""
_PATIENCE = 0.5
"""Longest wait, in seconds, for what was told before the note was taken back."""
_NOTED, _DEAF = 1, -1
"""Answers of the scripts; 0: there is nothing to stand by for."""


class Ear:
    """A channel of its own, and the connection on which it is heard. For one thread.

    Args:
        store: whose server is heard.

    Attributes:
        channel: where to tell.
    """

    def __init__(self, store: RedisCore) -> None:
        self.url = store.url
        self.channel = store.keys.ear(uuid.uuid4().hex)
        self._settings = store.settings
        self._line: redis.client.PubSub | None = None

    def open(self) -> None:
        """Listen, if it does not yet; return once the server knows.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        if self._line is not None:
            return
        try:
            with explained(self.url):
                line = self._line = connect(self._settings).pubsub()  # type: ignore[no-untyped-call]  # redis-py has no types here
                line.subscribe(self.channel)
                self._await(line, "subscribe", self._settings.socket_timeout.total_seconds(), [])
        except BaseException:
            self.close()  # or it would be taken for one that hears
            raise

    def hear(self, seconds: float) -> str | None:
        """Return what is told within so many seconds; None when nothing is.

        Raises:
            StoreUnavailable: the line broke. It is closed.
        """
        if self._line is None:
            return None
        try:
            with explained(self.url):
                return _told(self._line.get_message(timeout=seconds))
        except BaseException:
            self.close()
            raise

    def rest(self) -> list[str]:
        """Return what was told before this, and not heard yet; after an outage, what had come."""
        found = list[str]()
        if self._line is not None:
            try:
                self._line.ping()
                self._await(self._line, "pong", _PATIENCE, found)
            except (RedisError, OSError):
                self.close()
        return found

    @staticmethod
    def _await(line: redis.client.PubSub, kind: str, seconds: float, found: list[str]) -> None:
        """Wait for an answer of this kind; note what is told before it."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            message = line.get_message(timeout=left)
            if message is not None and message["type"] == kind:
                return
            text = _told(message)
            found += [] if text is None else [text]
        raise RedisTimeoutError(f"no {kind} came")

    def close(self) -> None:
        """Hang up. It can be opened again."""
        line, self._line = self._line, None
        if line is not None:
            with suppress(RedisError, OSError), closing(line.connection_pool):
                line.close()


def _told(message: dict[str, Any] | None) -> str | None:
    return message["data"].decode() if message is not None and message["type"] == "message" else None


class _Notes:
    """Notes of one process that stands by, made again in time, and the ear it is told by. For one thread.

    Args:
        store: whose work.
    """

    def __init__(self, store: RedisCore) -> None:
        self._store = store
        self._ear = Ear(store)
        self._noted = -math.inf

    def begin(self) -> bool:
        """Stand by; False: there is nothing to stand by for, or it would not be heard.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        self._ear.open()
        try:
            return self._note_again(again=False)
        except BaseException:
            self.close()  # the note may stand all the same, and then nobody may hear what is told
            raise

    def stay(self) -> bool:
        """Go on standing by; False: it does no more, as after an outage or because it was told.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        return time.monotonic() - self._noted < _AGAIN or self._note_again(again=True)

    def _end(self) -> list[str]:
        """Take the notes back; return what was told until then, and not heard."""
        try:
            self._note(0, again=True)
        except ReconcilerError:
            self.close()
            return []
        return self._ear.rest()

    def close(self) -> None:
        """Hang up."""
        self._ear.close()

    def _note_again(self, *, again: bool) -> bool:
        self._noted = time.monotonic()
        answer = self._note(LIFE, again=again)
        if answer == _DEAF:
            self.close()
        return answer == _NOTED

    def _note(self, life: int, *, again: bool) -> int:
        raise NotImplementedError


class ShardsHeard(_Notes):
    """The stand-by for what becomes due, in all shards for which nobody else stands by."""

    def next(self, seconds: float) -> int | None:
        """Return the shard that is told of within so many seconds; None when none is.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        return self._shard(self._ear.hear(seconds))

    def end(self) -> list[int]:
        """Stand by no more; return the shards that were told of meanwhile. Without the server, none."""
        return [shard for text in self._end() if (shard := self._shard(text)) is not None]

    def _shard(self, text: str | None) -> int | None:
        known = text is not None and text.isascii() and text.isdecimal() and int(text) < self._store.shards
        return int(text) if text is not None and known else None

    def _note(self, life: int, *, again: bool) -> int:
        del again  # the first and the next are the same
        store = self._store
        calls = [
            (store.keys.due(shard), store.keys.base(shard), self._ear.channel, life)
            for shard in range(store.shards)
        ]
        with explained(store.url):
            answers = script("hear").for_each(store.client, calls)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return max(map(int, answers))


class TicketsHeard(_Notes):
    """The stand-by for tickets of a queue. Who is told of one stands by no more.

    Args:
        store: whose work.
        queue: of attempts.
    """

    def __init__(self, store: RedisCore, queue: str) -> None:
        super().__init__(store)
        self._queue = queue

    def next(self, seconds: float) -> bool:
        """Tell whether it was told of a ticket within so many seconds.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        return self._ear.hear(seconds) is not None

    def end(self) -> bool:
        """Stand by no more; tell whether it was told of a ticket meanwhile."""
        return bool(self._end())

    def _note(self, life: int, *, again: bool) -> int:
        keys = self._store.keys
        key, base = keys.heads(self._queue), keys.queue(self._queue)
        with explained(self._store.url):
            return int(script("stand_by")(self._store.client, key, base, self._ear.channel, life, int(again)))

"""Redis store: the results channel for readers that share it, by consumer groups of the shards' streams.

A group has a position of its own in each shard. What a consumer was given stays its own until it is acknowledged, or until
another one takes it over because it has been open for too long. An entry that cannot be read is told and skipped, so that it
does not keep those beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from redis.exceptions import ResponseError

from reconciler import metrics
from reconciler.api.action import ActionId
from reconciler.api.event import AuditEntry
from reconciler.api.status_conditions import cut
from reconciler.settings import Settings
from reconciler.stores.base import ChannelEntry
from reconciler.stores.events import decode_event
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore
from reconciler.stores.redis.queries import add_audit

log = structlog.get_logger(__name__)

_START = "0-0"


class _Whose(msgspec.Struct):
    """The part of an event that a warning about it needs."""

    id: ActionId


class RedisChannel(RedisCore):
    """One consumer of one group, over all shards.

    Every method raises `StoreUnavailable`, within `RECONCILER_SOCKET_TIMEOUT`, when the server does not answer. A group
    that is missing is made, from the oldest event that is still kept.
    """

    def __init__(self, settings: Settings, group: str, consumer: str) -> None:
        super().__init__(settings)
        self._group = group
        self._consumer = consumer
        # a blocking read has to end before the socket gives up on it
        self._longest = int(settings.socket_timeout.total_seconds() * 500)
        self._made = False
        self._cursors = dict.fromkeys(range(self.shards), _START)

    @explain
    def read(self, limit: int, block: int) -> list[ChannelEntry]:
        """Read events that nobody in the group was given yet, at most `limit` of each shard, in the order of each action.

        Waits up to `block` ms for the first one, but no longer than half of the socket's timeout; 0 does not wait.
        """
        self._make_groups()
        streams: dict[Any, Any] = {self.keys.events(shard): ">" for shard in range(self.shards)}
        wait = min(block, self._longest) or None
        try:
            answer: Any = self.client.xreadgroup(
                self._group, self._consumer, streams, count=limit, block=wait
            )
        except ResponseError as error:
            self._make_again(error)
            return []
        shards = {self.keys.events(shard).encode(): shard for shard in range(self.shards)}
        return [entry for key, entries in answer or () for entry in self._decoded(shards[key], entries)]

    @explain
    def take_over(self, limit: int, idle: int) -> list[ChannelEntry]:
        """Take events given to any consumer, this one too, and open for `idle` ms; at most `limit` of each shard.

        Each call looks at a part of what is open, and the next one goes on behind it.
        """
        self._make_groups()
        pipe = self.client.pipeline(transaction=False)
        for shard, cursor in self._cursors.items():
            key = self.keys.events(shard)
            pipe.xautoclaim(key, self._group, self._consumer, idle, cursor, count=limit)
        try:
            answers = pipe.execute()
        except ResponseError as error:
            self._make_again(error)
            return []
        for shard, answer in enumerate(answers):
            self._cursors[shard] = answer[0].decode()
        return [entry for shard, answer in enumerate(answers) for entry in self._decoded(shard, answer[1])]

    @explain
    def acknowledge(self, entries: Sequence[ChannelEntry]) -> int:
        """Acknowledge events, so that they do not come again; return how many were open."""
        by_shard: dict[int, list[str]] = {}
        for entry in entries:
            by_shard.setdefault(self.shard_of(entry.event.id.run_id), []).append(entry.cursor)
        pipe = self.client.pipeline(transaction=False)
        for shard, cursors in by_shard.items():
            pipe.xack(self.keys.events(shard), self._group, *cursors)
        return sum(pipe.execute())

    def _decoded(self, shard: int, entries: Any) -> list[ChannelEntry]:  # noqa: ANN401  # what Redis answers
        found = []
        for cursor, fields in entries:
            data = fields.get(b"e", b"")
            try:
                found.append(ChannelEntry(cursor.decode(), decode_event(data)))
            except msgspec.DecodeError as error:
                self._set_aside(shard, cursor.decode(), data, str(error))
        return found

    def _set_aside(self, shard: int, cursor: str, data: bytes, error: str) -> None:
        """Report an entry and acknowledge it in one go; it stays in the stream for its retention."""
        key = self.keys.events(shard)
        log.warning("channel.unreadable", group=self._group, stream=key, entry=cursor, error=error)
        pipe = self.client.pipeline(transaction=False)
        with suppress(msgspec.DecodeError):  # else nobody knows whose it is, and the log alone tells
            whose = msgspec.json.decode(data, type=_Whose).id
            metrics.audited("EventUnreadable")
            message = f"entry {cursor} of {key} cannot be read, and group {self._group} skips it: {error}"
            at = int(time.time() * 1000)
            warning = AuditEntry(
                id=whose, reason="EventUnreadable", action="ReadChannel", message=cut(message), at=at
            )
            add_audit(pipe, self.keys.audit(shard), warning)
        pipe.xack(key, self._group, cursor)
        pipe.execute()

    def _make_groups(self) -> None:
        if self._made:
            return
        pipe = self.client.pipeline(transaction=False)
        for shard in range(self.shards):
            pipe.xgroup_create(self.keys.events(shard), self._group, _START, mkstream=True)
        for answer in pipe.execute(raise_on_error=False):
            if isinstance(answer, Exception) and not str(answer).startswith("BUSYGROUP"):
                raise answer
        self._made = True

    def _make_again(self, error: ResponseError) -> None:
        """Let the next call create a missing group again: it was removed, or lost with the server's data."""
        if "NOGROUP" not in str(error):
            raise error
        self._made = False

    def close(self) -> None:
        """Close all connections."""
        self.client.close()

"""The results channel for programs that follow everything: all events of an installation, shared among consumers.

Each event arrives at least once. When a consumer ends, for whatever reason, the others of its group read its unacknowledged
events. So a reader should remember handled events by `key_of`: an event has the same key each time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler.api.action import ActionId
from reconciler.api.names import check_name
from reconciler.settings import Settings
from reconciler.stores.base import ChannelEntry

if TYPE_CHECKING:
    from reconciler.stores.redis.channel import RedisChannel

_IDLE = timedelta(minutes=1)


class Channel:
    """The results channel of an installation.

    Args:
        settings: which installation; read from the environment when not given.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings.from_env()

    def reader(self, group: str, consumer: str, *, idle: timedelta = _IDLE) -> Reader:
        """Make a reader; nothing is sent yet.

        Args:
            group: consumers that share a position in the channel; a new group begins with the oldest event that is kept.
            consumer: name of this process in the group. Two live processes must not share it.
            idle: how long an event may stay unacknowledged before another consumer gets it. Longer than the longest
                time between `read` and `ack`, or events are handled twice.

        Raises:
            InvalidName: group or consumer break the rule of names.
            ValueError: `idle` is not positive.
        """
        check_name("group", group, 63)
        check_name("consumer", consumer, 63)
        if idle <= timedelta(0):
            raise ValueError(f"idle must be longer than 0 seconds, got {idle.total_seconds():g}")
        from reconciler.stores.redis.channel import RedisChannel  # noqa: PLC0415  # redis-py is 15 MB: only for a process that reads

        return Reader(RedisChannel(self._settings, group, consumer), idle)


class Reader:
    """One consumer of a group. For one thread; made by `Channel.reader`."""

    def __init__(self, channel: RedisChannel, idle: timedelta) -> None:
        self._channel = channel
        self._idle = int(idle.total_seconds() * 1000)
        self._look_again = 0.0

    def read(self, *, limit: int = 100, block: timedelta = timedelta(0)) -> list[ChannelEntry]:
        """Read the next events, at most `limit` of each shard; first those that a consumer left behind.

        Args:
            limit: events of one shard.
            block: how long to wait for the first one.

        Raises:
            StoreUnavailable: the store does not answer; nothing is lost, read again.
        """
        ends = time.monotonic() + block.total_seconds()
        while True:
            entries = self._left_behind(limit)
            left = max(0, int((ends - time.monotonic()) * 1000))
            entries = entries or self._channel.read(limit, min(left, self._idle))
            if entries or time.monotonic() >= ends:
                return entries

    def _left_behind(self, limit: int) -> list[ChannelEntry]:
        """Take events left behind: looked for four times within the idle time, and at once while there are some."""
        now = time.monotonic()
        if now < self._look_again:
            return []
        entries = self._channel.take_over(limit, self._idle)
        if not entries:
            self._look_again = now + self._idle / 4000
        return entries

    def ack(self, entries: Sequence[ChannelEntry]) -> int:
        """Acknowledge events; return how many of them were open.

        Raises:
            StoreUnavailable: the store does not answer; they come again unless this is repeated.
        """
        return self._channel.acknowledge(entries) if entries else 0

    def close(self) -> None:
        """Close the connections. What was not acknowledged goes to another consumer."""
        self._channel.close()


def key_of(entry: ChannelEntry) -> tuple[ActionId, int]:
    """Return a key that is the same each time an event arrives, and different for any other event."""
    return entry.event.id, entry.event.sequence

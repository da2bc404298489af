"""Wake waiters instead of letting them poll: one pub/sub connection per process hears of the runs it waits for.

A notification may be lost (pub/sub keeps nothing), so it only means "look again", and whoever waits also looks now and then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple

import redis
from redis.exceptions import RedisError

from reconciler.settings import Settings
from reconciler.stores.base import ANY
from reconciler.stores.redis.connect import connect, explained

_PATIENCE = 0.25
"""Seconds one read waits; also how long the connection outlives its last waiter, and a subscription that of its channel."""
_LEFT = 100
"""So many subscriptions that nobody needs are ended at once."""


class _Waiting(NamedTuple):
    """A waiter on a channel, and the action whose end it waits for; empty: any notification will do."""

    callback: Callable[[], None]
    end_of: bytes


class Notifier:
    """Listens on the channels somebody waits for. The thread ends when nobody waits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._callbacks: dict[str, list[_Waiting]] = {}
        self._ready: dict[str, threading.Event] = {}
        self._left: dict[str, None] = {}
        self._tidied = 0.0
        self._pubsub: redis.client.PubSub | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def subscribe(self, channel: str, callback: Callable[[], None], end_of: str = "") -> Iterator[None]:
        """Call `callback` after each notification on `channel`, beginning before this returns, until the context ends.

        With `end_of` only after those that name it; `ANY`: that name one.
        """
        waiting = _Waiting(callback, end_of.encode())
        try:
            with explained(self._settings.redis_url):
                ready = self._add(channel, waiting)
            ready.wait(self._settings.socket_timeout.total_seconds())
            yield
        finally:
            self._remove(channel, waiting)

    def close(self) -> None:
        """Stop listening; return when the thread has ended. Remaining waiters are no longer called."""
        with self._lock:
            pubsub, thread, self._pubsub = self._pubsub, self._thread, None
        if pubsub is not None and thread is not None:
            with suppress(RedisError):
                pubsub.unsubscribe()  # type: ignore[no-untyped-call]  # its answer ends the thread's wait
            thread.join(self._settings.socket_timeout.total_seconds())

    def _add(self, channel: str, waiting: _Waiting) -> threading.Event:
        with self._lock:
            self._callbacks.setdefault(channel, []).append(waiting)
            alive = self._thread is not None and self._thread.is_alive()
            pubsub = self._pubsub if alive else None
            if pubsub is None:
                self._forget([*self._left])  # they have ended with their connection
            known = channel in self._ready
            ready = self._ready.setdefault(channel, threading.Event())
            self._left.pop(channel, None)
            try:
                if pubsub is None:
                    self._listen_anew()
                elif not known:
                    pubsub.subscribe(channel)
            except BaseException:
                del self._ready[channel]  # nobody has subscribed: the next waiter does
                if pubsub is None:
                    self._pubsub = None
                raise
            return ready

    def _listen_anew(self) -> None:
        pubsub = self._pubsub = connect(self._settings).pubsub()  # type: ignore[no-untyped-call]  # redis-py has no types here
        pubsub.subscribe(*self._callbacks)
        self._thread = threading.Thread(
            target=self._listen, args=(pubsub,), name="reconciler-notify", daemon=True
        )
        self._thread.start()

    def _remove(self, channel: str, waiting: _Waiting) -> None:
        with self._lock:
            left = [other for other in self._callbacks.get(channel, ()) if other is not waiting]
            self._callbacks[channel] = left
            if left:
                return
            del self._callbacks[channel]
            if channel not in self._ready:
                return
            self._left[channel] = None  # ended with others: many wait for one run after the other
            if len(self._left) >= _LEFT:
                self._unsubscribe()

    def _unsubscribe(self) -> None:
        """End the subscriptions that nobody needs."""
        left = [*self._left]
        self._forget(left)
        if self._pubsub is not None and left:
            try:
                self._pubsub.unsubscribe(*left)  # type: ignore[no-untyped-call]  # redis-py has no types here
            except RedisError:
                self._pubsub = None  # the next waiter connects anew

    def _forget(self, channels: Sequence[str]) -> None:
        for channel in channels:
            del self._left[channel], self._ready[channel]

    def _listen(self, pubsub: redis.client.PubSub) -> None:
        with closing(pubsub.connection_pool), closing(pubsub):
            while pubsub is self._pubsub:
                try:
                    message = pubsub.get_message(timeout=_PATIENCE)
                except (RedisError, OSError, ValueError):
                    self._call_all()
                    time.sleep(0.2)  # the server is away: redis-py subscribes again on the next read
                    continue
                if message is None:
                    self._rest(pubsub)
                else:
                    self._hear(message)
                    if time.monotonic() - self._tidied > _PATIENCE:
                        self._rest(pubsub, busy=True)

    def _rest(self, pubsub: redis.client.PubSub, *, busy: bool = False) -> None:
        """Stop listening when nobody waits, else where nobody does."""
        with self._lock:
            self._tidied = time.monotonic()
            if pubsub is not self._pubsub:
                return
            if not self._callbacks and not busy:
                self._pubsub = None
            elif self._left:
                self._unsubscribe()

    def _hear(self, message: dict[str, Any]) -> None:
        channel = message["channel"].decode()
        ready = self._ready.get(channel)
        if message["type"] == "subscribe" and ready is not None:
            ready.set()
        elif message["type"] == "message":
            self._call(channel, message["data"].split(b" "))

    def _call(self, channel: str, ended: list[bytes] | None = None) -> None:
        """Call the waiters of a channel; with the names of ended actions, only those waiters whose action is named."""
        for waiting in tuple(self._callbacks.get(channel, ())):
            if ended is None or _concerns(waiting.end_of, ended):
                waiting.callback()

    def _call_all(self) -> None:
        for channel in tuple(self._callbacks):
            self._call(channel)


def _concerns(end_of: bytes, ended: list[bytes]) -> bool:
    """Tell whether a notification with these names concerns a waiter for that end; one without names concerns all."""
    return not end_of or end_of in ended or (end_of == ANY.encode() and ended != [b""])

"""Stand by after a step of few actions: what becomes due next is stepped in the same slot, without a message.

An action that comes alone costs more for its message than for its step. While one thread of a steps worker stands by, the
scripts tell it of shards (stores/redis/hearing.py). It takes only what is quick: before a step that may take long it sends
messages for the rest, and stands by no more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from reconciler.controller.ahead import StepReport
from reconciler.controller.joined import FEW
from reconciler.controller.wakes import Wakes
from reconciler.stores.redis.hearing import ShardsHeard
from reconciler.stores.redis.store import RedisStore
from reconciler.wiring import Engine
from worker.attempts.staying import staying
from worker.slots import slots

_QUIET = 10.0
"""Seconds without work after which the slot is given back …"""
_LONGEST = 60.0
"""… and seconds after which it is in any case: who counts or times tasks of Celery sees this one end."""
_LISTENS = 0.25
"""Longest wait, in seconds, until a shutdown is noticed."""
_BEHIND = 2
"""So many further shards may wait for the one thread that stands by; those behind them get messages, for other threads."""


class Standby:
    """The stand-by of one process: one thread at a time.

    Args:
        engine: of this process.
        store: its store.
    """

    def __init__(self, engine: Engine, store: RedisStore) -> None:
        self._stepper = engine.stepper
        self._wakes = Wakes(store, engine.messenger)
        self._queue = engine.settings.steps_queue
        self._heard = ShardsHeard(store)
        self._one = threading.Lock()
        self._stands = False
        self._shards: list[int] = []

    def after(self, report: StepReport) -> None:
        """Stand by after a step, where the slot may be kept and the step was short.

        Raises:
            StoreUnavailable: the server does not answer; the resync sweep finds what was told.
        """
        if report.again or not 0 < report.claimed < FEW or not staying.allowed(self._queue) or slots.full():
            return
        if self._one.acquire(blocking=False):
            try:
                self._stand_by()
            finally:
                self._one.release()

    def _stand_by(self) -> None:
        self._stands = self._heard.begin()
        try:
            began = last = time.monotonic()
            while self._stands and self._may(began, last):
                self._hear()
                while self._shards:
                    self._stepper.step(self._shards.pop(0), make_way=self._leave)
                    last = time.monotonic()
                if self._stands and not self._heard.stay():
                    return
        finally:
            self._leave()

    def _may(self, began: float, last: float) -> bool:
        now = time.monotonic()
        in_time = now - last < _QUIET and now - began < _LONGEST
        return in_time and staying.allowed(self._queue) and not slots.full()

    def _hear(self) -> None:
        """Wait for shards that have something due; have messages sent where too many do."""
        seconds = _LISTENS
        while (told := self._heard.next(seconds)) is not None:
            self._shards.append(told)
            seconds = 0.0
        self._send(self._shards[1 + _BEHIND :])
        del self._shards[1 + _BEHIND :]

    def _leave(self) -> None:
        """Stand by no more; have messages sent for all that was told and is not stepped yet."""
        if self._stands:
            self._stands = False
            self._send([*self._shards, *self._heard.end()])
            self._shards.clear()

    def _send(self, shards: Iterable[int]) -> None:
        for shard in dict.fromkeys(shards):
            self._wakes.wake(shard)


_of: WeakKeyDictionary[Engine, Standby] = WeakKeyDictionary()


def stand_by_after(engine: Engine, report: StepReport) -> None:
    """Stand by after a step of this process, if its store can tell."""
    if isinstance(engine.store, RedisStore):
        found = _of.get(engine) or _of.setdefault(engine, Standby(engine, engine.store))
        found.after(report)

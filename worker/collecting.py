"""Collect when beat does not: it may be down, or silent because its clock was ahead and was set back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from beat_schedule import BEAT_SCHEDULE
from reconciler.api.errors import ReconcilerError
from reconciler.stores.redis.store import RedisStore
from reconciler.sweeps.collect import collect
from reconciler.wiring import Engine

log = structlog.get_logger(__name__)

SWEEP = "collect"
PERIOD = float(str(BEAT_SCHEDULE[SWEEP]["schedule"]))
"""How often beat has somebody collect, s."""
SILENCE = 3 * PERIOD
"""How long nobody may have collected until a steps worker does so by itself, s."""


class StandIn:
    """Collects in a steps worker when nobody has collected for long: one worker at a time, in a thread of its own.

    How long ago that was is read off a key's life, so by the clock of Redis: no clock of a host can make it mute. Where
    nobody is known ever to have collected, beat may be about to: then it is the time this worker has lived that counts.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._born = self._looked = clock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self, engine: Engine) -> None:
        """Begin to collect if it is time. Costs one short command a minute; never waits for the pass itself."""
        now = self._clock()
        if now - self._looked < PERIOD or (self._thread is not None and self._thread.is_alive()):
            return
        self._looked = now
        store = engine.store
        if not isinstance(store, RedisStore) or not self._silent(store, now):
            return
        if self._ended.is_set() or not store.take_turn(SWEEP, int(SILENCE * 1000)):
            return
        self._thread = threading.Thread(
            target=self._collect, args=(engine, store), name="reconciler-collect", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Begin no more, because the worker shuts down. A running pass may be cut off anywhere; another one goes on."""
        self._ended.set()

    def join(self, timeout: float) -> None:
        """Wait until a running pass has ended, at most this many seconds."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _silent(self, store: RedisStore, now: float) -> bool:
        ago = store.swept_ago(SWEEP)
        return now - self._born >= SILENCE if ago is None else ago >= SILENCE * 1000

    @staticmethod
    def _collect(engine: Engine, store: RedisStore) -> None:
        log.warning("collect.stood_in", silent_for=f"{SILENCE:g} s", remedy="see whether beat runs")
        try:
            collect(store, engine.settings, engine.blobs)
            store.say_swept(SWEEP)
        except ReconcilerError as error:
            log.warning("collect.unavailable", error=str(error))
        except Exception:
            log.exception("collect.failed")

"""The parts of one worker process: its engine, its liveness key, and a look at shards that get no messages."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import structlog

from reconciler.api.errors import ReconcilerError
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore
from reconciler.sweeps.resync import resync
from reconciler.tickets import announce_anew
from reconciler.wiring import Engine, build
from worker.collecting import StandIn
from worker.consuming import ConsumerWatch
from worker.functions_told import FunctionsTold
from worker.liveness import Liveness

log = structlog.get_logger(__name__)

_ALIVE_EVERY = 5.0
_LOOK_EVERY = 5.0
"""Seconds after which a steps worker looks at every shard itself, at once when it starts: beat may be down."""


class _Held:
    """The engine of this process; made again after a fork, because sockets must not be shared."""

    engine: Engine | None = None
    pid: int = 0
    settings: Settings | None = None


def configure(settings: Settings) -> None:
    """Set the settings from which the engine of this process is built."""
    _Held.settings = settings


def current_settings() -> Settings:
    """Return the settings of this process."""
    return _Held.settings or Settings.from_env()


def current_engine() -> Engine:
    """Return the engine of this process, built on first use."""
    if _Held.engine is None or _Held.pid != os.getpid():
        _Held.engine = build(current_settings())
        _Held.pid = os.getpid()
    return _Held.engine


class Guardian(threading.Thread):
    """Writes a worker's signs of life, keeps a steps worker going when no messages come, and ends one that hears none.

    Args:
        liveness: says that the worker is alive.
        steps: whether it consumes the steps queue.
        watch: looks after its consumer; None where the broker is not Redis.
        functions: tells what the worker can run; None when it runs no attempts.
        collecting: collects in a steps worker when nobody has for long.
        each: called each second.
    """

    def __init__(
        self,
        liveness: Liveness,
        *,
        steps: bool,
        watch: ConsumerWatch | None = None,
        functions: FunctionsTold | None = None,
        collecting: StandIn | None = None,
        each: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="reconciler-guardian", daemon=True)
        self._liveness = liveness
        self._steps = steps
        self._watch = watch
        self._functions = functions
        self._collecting = collecting or StandIn()
        self._each = each
        self._ends = threading.Event()

    def run(self) -> None:
        """Run until the worker ends."""
        said, looked, pause = 0.0, 0.0, 0.0
        while not self._ends.wait(pause):
            now, pause = time.monotonic(), 1.0
            try:
                self._each()
                if self._watch is not None and self._watch.stuck():
                    try:
                        self.stop()
                    finally:
                        self._watch.leave()
                    return
                if not said or now - said >= _ALIVE_EVERY:
                    self._say_alive()
                    said = now
                if self._steps and (not looked or now - looked >= _LOOK_EVERY):
                    engine = current_engine()
                    resync(engine.store, engine.messenger, anew=not looked)
                    looked = now
                    self._collecting.look(engine)
            except ReconcilerError as error:
                log.warning("guardian.unavailable", error=str(error))
            except Exception:
                log.exception("guardian.failed")

    def _say_alive(self) -> None:
        store = current_engine().store
        # first what it can run: who sees that a worker lives may ask for its functions by name at once
        if self._functions is not None:
            for queue in self._functions.tell(store):
                announce_anew(store, current_engine().messenger, queue)
        if isinstance(store, RedisStore):
            self._liveness.say(store)

    def stop(self) -> None:
        """End the thread, and withdraw the signs of life."""
        self._ends.set()
        self._collecting.end()
        try:
            store = current_engine().store
            if self._functions is not None:
                self._functions.take_back(store)
            if isinstance(store, RedisStore):
                self._liveness.end(store)
        except ReconcilerError as error:
            log.warning("guardian.unavailable", error=str(error))

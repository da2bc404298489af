"""What one worker process holds: its engine, its liveness key, and an eye on shards nobody sends messages for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec
import structlog

from reconciler.api.errors import ReconcilerError
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.redis.store import RedisStore
from reconciler.sweeps.resync import resync
from reconciler.wiring import Engine, build
from worker.consuming import ConsumerWatch

log = structlog.get_logger(__name__)

_ALIVE_EVERY = 5.0
_ALIVE_FOR = 15
_LOOK_EVERY = 5.0
"""Seconds after which a steps worker looks at every shard itself, at once when it starts: beat may be down."""


class _Held:
    """The engine of this process; remade after a fork, because sockets must not be shared."""

    engine: Engine | None = None
    pid: int = 0
    settings: Settings | None = None


def configure(settings: Settings) -> None:
    """Say which settings the engine of this process is built from."""
    _Held.settings = settings


def current_engine() -> Engine:
    """The engine of this process, built on first use."""
    if _Held.engine is None or _Held.pid != os.getpid():
        _Held.engine = build(_Held.settings or Settings.from_env())
        _Held.pid = os.getpid()
    return _Held.engine


class FunctionsTold:
    """What a worker tells of itself in the registry of functions, for each queue it takes attempts from.

    Args:
        functions: name → digest of the interface.
        queues: the queues at the moment: `celery control add_consumer` may add some.
    """

    def __init__(self, functions: Mapping[str, str], queues: Callable[[], Iterable[str]]) -> None:
        self._functions = functions
        self._queues = queues
        self._told: set[str] = set()

    def tell(self, store: Store, worker: str, seconds: int) -> None:
        """Say it for so many seconds; 0 takes it back. A queue that is consumed no more is told at once."""
        queues = set(self._queues()) if seconds else set()
        for queue in self._told - queues:
            store.tell_functions(worker, queue, {}, 0)
        for queue in queues:
            store.tell_functions(worker, queue, self._functions, seconds * 1000)
        self._told = queues


class Guardian(threading.Thread):
    """Says that a worker is alive, keeps a steps worker going when no messages come, and ends one that hears none.

    Args:
        name: node name of the worker.
        steps: whether it consumes the steps queue.
        watch: looks after its consumer; None where the broker is not Redis.
        functions: tells what the worker can run; None when it runs no attempts.
    """

    def __init__(
        self,
        name: str,
        *,
        steps: bool,
        watch: ConsumerWatch | None = None,
        functions: FunctionsTold | None = None,
    ) -> None:
        super().__init__(name="reconciler-guardian", daemon=True)
        self._worker = name
        self._steps = steps
        self._watch = watch
        self._functions = functions
        self._ends = threading.Event()
        self._started_at = int(time.time() * 1000)

    def run(self) -> None:
        """Until the worker ends."""
        said, looked, pause = 0.0, 0.0, 0.0
        while not self._ends.wait(pause):
            now, pause = time.monotonic(), 1.0
            try:
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
                    resync(engine.store, engine.messenger)
                    looked = now
            except ReconcilerError as error:
                log.warning("guardian.unavailable", error=str(error))
            except Exception:
                log.exception("guardian.failed")

    def _say_alive(self) -> None:
        store = current_engine().store
        if isinstance(store, RedisStore):
            facts = {"pid": os.getpid(), "started_at": self._started_at}
            store.say_alive(self._worker, msgspec.json.encode(facts), _ALIVE_FOR)
        if self._functions is not None:
            self._functions.tell(store, self._worker, _ALIVE_FOR)

    def stop(self) -> None:
        """End the thread, and say so."""
        self._ends.set()
        try:
            store = current_engine().store
            if self._functions is not None:
                self._functions.tell(store, self._worker, 0)
            if isinstance(store, RedisStore):
                store.say_alive(self._worker, b"", 0)
        except ReconcilerError as error:
            log.warning("guardian.unavailable", error=str(error))

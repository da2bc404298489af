"""The slots of a pool of threads: each is freed however its work ends, and is seen while it works.

Celery hears of a task in a thread by a callback at its end. An error outside of the task (in reading its message, say) skips
that callback: the message is never acknowledged, and its slot counts as taken for good.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import structlog
from celery.concurrency.thread import TaskPool
from celery.worker.state import task_ready

from reconciler.broker.liveness import liveness

log = structlog.get_logger(__name__)


class Slots:
    """Counts what runs in the pool of this process."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._running = 0
        self._pool: Any = None

    def watch(self, pool: Any) -> None:  # noqa: ANN401  # Celery has no types
        """Follow a pool, if it is one of threads. May be repeated."""
        if pool is self._pool or not isinstance(pool, TaskPool):
            return
        self._pool = pool
        pool.on_apply = partial(self._apply, pool.on_apply)
        liveness.busy = self.busy

    def busy(self) -> bool:
        """Tell whether anything runs."""
        return self._running > 0

    @property
    def of_threads(self) -> bool:
        """Tell whether the pool is known, and one of threads."""
        return self._pool is not None

    def full(self) -> bool:
        """Tell whether all threads work, or more waits for them; never where the pool is none of threads."""
        return self.of_threads and self._running >= self._pool.limit

    def _apply(self, apply: Callable[..., Any], *given: Any, **named: Any) -> Any:  # noqa: ANN401  # as above
        request = getattr(named.get("error_callback"), "__self__", None)
        with self._guard:
            self._running += 1
        try:
            result = apply(*given, **named)
        except BaseException:
            self._count_off()
            raise
        result.f.add_done_callback(partial(self._ended, request))
        return result

    def _ended(self, request: Any, future: Future[object]) -> None:  # noqa: ANN401  # Celery's request
        self._count_off()
        error = None if future.cancelled() else future.exception()
        if error is None or request is None:
            return
        log.error(
            "message.failed", task=request.type, id=request.id, error=f"{type(error).__name__}: {error}"[:500]
        )
        task_ready(request)
        request.acknowledge()

    def _count_off(self) -> None:
        with self._guard:
            self._running -= 1


slots = Slots()
"""Those of this process."""

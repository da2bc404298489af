"""Refuse submissions to a queue in which as many launches wait as its limit allows.

The bound is approximate, so that submitting stays one round trip: a queue is looked at once a second, and only what this
client has submitted since is counted on top. What others submit within that second is not, nor is an action that does not
stand in a line: before its first round or its `eta`, between two attempts, waiting for a unit of a quota or a cache key.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reconciler.api.action import TaskAction
from reconciler.api.errors import QueueFull
from reconciler.client.door import Door
from reconciler.stores.base import Store

_LOOK_EVERY = 1.0
"""How long a look at a queue counts, seconds."""


@dataclass
class _Seen:
    """The last look at a queue, and what this client has submitted to it since."""

    until: float
    limit: int
    waiting: int


class QueueLimits:
    """Knows which queues are full. May be shared between threads.

    Args:
        store: knows the limits, and what waits.
        door: knows which queue an action goes to.
        clock: seconds that never go back.
    """

    def __init__(self, store: Store, door: Door, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._door = door
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()

    def check(self, actions: Sequence[TaskAction]) -> None:
        """Refuse actions of one submission for which there is no room.

        One that was accepted before, as its first action tells, may be repeated: what was stored of it is no more work.

        Raises:
            QueueFull: as much waits as may.
        """
        for queue, more in self._by_queue(actions).items():
            seen = self._look(queue)
            if seen.limit < 0:
                continue
            if seen.waiting + more > seen.limit and self._store.get(actions[0].id) is None:
                raise QueueFull(queue, seen.limit, seen.waiting, more)
            seen.waiting += more

    def forget(self, queue: str) -> None:
        """Look again before the next submission."""
        with self._lock:
            self._seen.pop(queue, None)

    def _by_queue(self, actions: Sequence[TaskAction]) -> Counter[str]:
        """Count how many actions go to each queue; the template names it, and many actions share one template."""
        kinds = Counter((action.spec.task_type, action.spec.task_template) for action in actions)
        found = Counter[str]()
        for (task_type, template), count in kinds.items():
            queue = self._door.queue_of(task_type, template)
            if queue:
                found[queue] += count
        return found

    def _look(self, queue: str) -> _Seen:
        with self._lock:
            seen = self._seen.get(queue)
        if seen is None or seen.until <= self._clock():
            limit = self._store.set_queue(queue).limit
            waiting = self._store.launches_waiting().get(queue, 0) if limit >= 0 else 0
            seen = _Seen(self._clock() + _LOOK_EVERY, limit, waiting)
            with self._lock:
                self._seen[queue] = seen
        return seen

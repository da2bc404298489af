"""Refuse submissions to a queue in which as many launches wait as its limit allows.

The bound is approximate, so that submitting stays one round trip: a queue is looked at once a second, and only what this
client has submitted since is counted on top, until a step has looked at it. What others submit within that second is not,
nor is an action that does not stand in a line: before its first round or its `eta`, between two attempts, waiting for a unit
of a quota or a cache key.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import QueueFull
from reconciler.client.door import Door
from reconciler.stores.base import Store

_LOOK_EVERY = 1.0
"""How long a look at a queue counts, seconds."""
_READ_AT_ONCE = 500


@dataclass
class _Seen:
    """The last look at a queue, and what this client has submitted to it since: the last action of each, and how many."""

    until: float
    limit: int
    waiting: int
    mine: list[tuple[ActionId, int]] = field(default_factory=list)

    @property
    def all(self) -> int:
        """Count what waits, as far as is known."""
        return self.waiting + sum(count for _, count in self.mine)


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
        full = self.full(actions)
        if full is not None and self._store.get(actions[0].id) is None:
            raise full

    def full(self, actions: Sequence[TaskAction]) -> QueueFull | None:
        """Tell whether there is no room for the actions of one submission; else count them."""
        for queue, more in self._by_queue(actions).items():
            seen = self._look(queue)
            if seen.limit < 0:
                continue
            if seen.mine and seen.waiting + more <= seen.limit < seen.all + more:
                self._look_at_mine(queue, seen)
            if seen.all + more > seen.limit:
                return QueueFull(queue, seen.limit, seen.all, more)
            seen.mine.append((actions[-1].id, more))
        return None

    def _look_at_mine(self, queue: str, seen: _Seen) -> None:
        """Forget submissions that a step has looked at, then count anew: they stand in line by now, or have been drawn."""
        first, rest = seen.mine[:_READ_AT_ONCE], seen.mine[_READ_AT_ONCE:]
        records = self._store.get_many([action for action, _ in first])
        new = [one for one, record in zip(first, records, strict=True) if record is None or not _met(record)]
        seen.mine = [*new, *rest]
        seen.waiting = self._store.launches_waiting().get(queue, 0)

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


def _met(record: TaskAction) -> bool:
    """Tell whether a step has looked at an action."""
    return record.status.attempts > 0 or record.phase.is_terminal()

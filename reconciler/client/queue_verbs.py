"""Offer the verbs for queues: pause, resume, move, limit, look at them."""

from __future__ import annotations

from reconciler.client.queues import QueueFacts, Queues


class QueueVerbs:
    """The verbs of queues; a part of `Client`."""

    _queues: Queues

    def pause_queue(self, name: str) -> None:
        """Start nothing of a queue any more until it is resumed. What runs goes on; submissions are accepted and wait.

        Raises:
            InvalidName: it is no queue for attempts.
            StoreUnavailable: the store does not answer.
        """
        self._queues.pause(name)

    def resume_queue(self, name: str) -> None:
        """Let a paused queue go on.

        Raises:
            As `pause_queue`.
        """
        self._queues.resume(name)

    def move_queue(self, name: str, to: str) -> int:
        """Move the launches that wait in a queue to another one, in their order; returns how many.

        Only what waits now is moved: later submissions and retries go to the queue of their task.

        Raises:
            InvalidSpec: both are the same.
            InvalidName, StoreUnavailable: as `pause_queue`.
        """
        return self._queues.move(name, to)

    def limit_queue(self, name: str, limit: int | None) -> None:
        """Refuse submissions of functions with `QueueFull` while this many launches wait in their queue; None: never.

        The bound is approximate (docs/operations.md).

        Raises:
            InvalidSpec: the limit is negative, or no whole number.
            InvalidName, StoreUnavailable: as `pause_queue`.
        """
        self._queues.limit(name, limit)

    def queues(self, *names: str) -> list[QueueFacts]:
        """Return, for each queue, how much waits in it, whether it is paused, and its limit.

        Args:
            *names: which queues; by default that of attempts, and those in which launches wait or that have a rule.

        Raises:
            InvalidName, StoreUnavailable: as `pause_queue`.
        """
        return self._queues.facts(names)

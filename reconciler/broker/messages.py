"""Define what the engine asks of a message system, and nothing more.

A message is a wake-up: it says "look at this", never what to do. Lost, doubled, late or re-ordered it costs
time, never truth. The engine knows task *names* only; `CeleryMessenger` binds them to a Celery application.
"""

from __future__ import annotations

from typing import Protocol

RECONCILE = "reconciler.reconcile"
RUN_ATTEMPTS = "reconciler.run_attempts"


class Messenger(Protocol):
    """Sends wake-ups and tickets. Both may be lost; both may arrive twice."""

    def wake(self, shard: int, countdown: float = 0.0) -> None:
        """Ask for a reconcile step of `shard` in `countdown` seconds.

        Args:
            shard: number of the shard.
            countdown: seconds to wait; 0 means at once.

        Raises:
            BrokerUnavailable: the broker does not answer in time.
        """

    def ticket(self, queue: str) -> None:
        """Tell one worker of a queue that launches stand in its lines.

        Raises:
            BrokerUnavailable: the broker does not answer in time.
        """

    def waiting(self, queue: str) -> int:
        """Count the messages of a queue that no worker has taken yet.

        Raises:
            BrokerUnavailable: the broker does not answer in time.
        """

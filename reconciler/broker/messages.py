"""What the engine asks of a message system, and nothing more.

A message is a wake-up: it says "look at this", never what to do. Lost, doubled, late or re-ordered it costs
time, never truth. The engine knows task *names* only; `CeleryMessenger` binds them to a Celery application.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from reconciler.core.paths import is_relaunch

RECONCILE = "reconciler.reconcile"
RUN_ATTEMPT = "reconciler.run_attempt"
INCARNATION = "reconciler-incarnation"
"""Header of a launch: which incarnation of the run it was sent for. Workers of releases before do not read it."""
AHEAD = "reconciler-ahead"
"""Header of a message that goes to the head of its queue."""


class Launch(msgspec.Struct, frozen=True):
    """A message that offers one attempt to the workers of a queue.

    Attributes:
        queue: name of the queue.
        action: path of the action, `project/domain/run/action`.
        attempt: which launch this is, `<attempt>` or `<attempt>-<relaunch>`; the store refuses any other
            (R29).
        display: what Flower and the worker's log show instead of arguments.
        incarnation: of the run; a later run of that name has launches of the same names.
        task: what they show as the name of the task: the function's.
    """

    queue: str
    action: str
    attempt: str
    display: str
    incarnation: str = ""
    task: str = RUN_ATTEMPT

    @property
    def ahead(self) -> bool:
        """Whether it goes to the head of its queue: a relaunch has stood in line once, and lost its turn by no fault."""
        return is_relaunch(self.attempt)


class Messenger(Protocol):
    """Sends wake-ups and launches. Both may be lost; both may arrive twice."""

    def wake(self, shard: int, countdown: float = 0.0) -> None:
        """Ask for a reconcile step of `shard` in `countdown` seconds.

        Args:
            shard: number of the shard.
            countdown: seconds to wait; 0 means at once.

        Raises:
            BrokerUnavailable: the broker does not answer in time.
        """
        ...

    def launch(self, launches: Sequence[Launch]) -> None:
        """Send one `run_attempt` message for each launch, in few round trips.

        Raises:
            BrokerUnavailable: the broker does not answer in time; some may have been sent.
        """
        ...

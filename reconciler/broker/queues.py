"""Define what our queues are called at the broker.

On Redis the key prefix stands before all that kombu writes. Elsewhere nothing does: on RabbitMQ two installations on one
virtual host had one queue `steps`, and took each other's messages in silence. There the prefix is part of the name, as in
`cr:steps`. No name of ours holds a colon, so no two pairs of prefix and name look the same.
"""

from __future__ import annotations

from typing import Any

from celery.app.amqp import Queues
from kombu.entity import Exchange, Queue

from reconciler.broker.address import BrokerAddress
from reconciler.broker.reconnect import EagerAMQP
from reconciler.settings import Settings


def name_prefix(settings: Settings, address: BrokerAddress) -> str:
    """Return what stands before the name of each queue and exchange of the installation."""
    return "" if address.family == "redis" else f"{settings.key_prefix}:"


def queue_of(name: str, prefix: str) -> Queue:
    """Declare a queue, found by Celery under the name that settings and tasks use."""
    full = prefix + name
    exchange = Exchange(full, type="direct")  # type: ignore[no-untyped-call]  # kombu is not
    return Queue(full, exchange, routing_key=full, alias=name if prefix else None)  # type: ignore[no-untyped-call]  # kombu is not


class _OwnQueues(Queues):  # type: ignore[misc]  # Celery has no types
    """Queues that prefix also the names that only `-Q` or a task mentions."""

    prefix = ""

    def new_missing(self, name: str) -> Queue:
        """Declare a queue that no setting names."""
        if name.startswith(self.prefix):  # `Queues` asks by the full name, too
            return queue_of(name.removeprefix(self.prefix), self.prefix)
        return queue_of(name, self.prefix)


def messaging(prefix: str) -> type[EagerAMQP]:
    """Make Celery's messaging for an installation whose queues have this prefix."""
    if not prefix:
        return EagerAMQP
    queues = type("OwnQueues", (_OwnQueues,), {"prefix": prefix})
    return type("OwnAMQP", (EagerAMQP,), {"queues_cls": queues})


def plain_name(queue: Any) -> str:  # noqa: ANN401  # kombu's queue; its type lacks the alias
    """Return the name that settings, tasks and `-Q` use for a queue."""
    return str(queue.alias or queue.name)


def talk(prefix: str) -> dict[str, object]:
    """Set the exchanges of remote control and events, or Flower would show, and stop, workers of another installation."""
    if not prefix:
        return {}
    return {
        "control_exchange": f"{prefix}celery",
        "event_exchange": f"{prefix}celeryev",
        "event_queue_prefix": f"{prefix}celeryev",
    }

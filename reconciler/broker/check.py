"""Check a broker: it answers, takes a message and gives it back, and lets its user do all that workers do."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from kombu.entity import Queue
from kombu.messaging import Producer

from reconciler.api.errors import Outage
from reconciler.broker.address import BrokerAddress, read_address
from reconciler.broker.conf import build_app
from reconciler.broker.messenger import hang_up
from reconciler.broker.queues import name_prefix
from reconciler.broker.rights import missing_rights
from reconciler.core.refusals import plain, refusal_of, right_of, rights_problem
from reconciler.settings import Settings

_PATIENCE = 2.0
"""Longest wait for the answers of workers, seconds."""
_NO_VHOST = "has no virtual host for us ({said}): make it with `rabbitmqctl add_vhost`, or correct {variable}"
_NO_ENTRY = "refuses our credentials ({said}): check user and password in {variable}"
_NO_RIGHT = (
    "does not let its user do all that is needed ({said}): "
    "allow configure, write and read with `rabbitmqctl set_permissions`"
)
_CLUSTER = (
    "is a cluster node, which Celery cannot use ({said}): give {variable} a single server or a Sentinel"
)
_LASTING = {
    "NOT_ALLOWED": _NO_VHOST, "ACCESS_REFUSED - Login": _NO_ENTRY, "ACCESS_REFUSED": _NO_RIGHT,
    "WRONGPASS": _NO_ENTRY, "NOAUTH": _NO_ENTRY, "invalid username-password": _NO_ENTRY, "Authentication": _NO_ENTRY,
    "ermission": _NO_RIGHT, "NOPERM": _NO_RIGHT, "CROSSSLOT": _CLUSTER, "same slot": _CLUSTER,
    "MOVED": _CLUSTER, "CLUSTERDOWN": _CLUSTER,
}  # fmt: skip


class BrokerReport(msgspec.Struct, frozen=True):
    """The result of a check of the broker.

    Attributes:
        shown: the broker's URL without its password.
        problems: sentences with a remedy.
        waiting: messages in each of our queues; None where there is no such queue yet.
        lasting: whether the problems stay until somebody changes something: rights, credentials, a cluster node.
    """

    shown: str
    problems: tuple[str, ...] = ()
    waiting: dict[str, int | None] = {}
    lasting: bool = False


def broker_problems(settings: Settings) -> list[str]:
    """List what would make a worker die later or reconnect for ever. A broker that is away is an `Outage`."""
    report = look_at_broker(settings)
    return [problem if report.lasting else Outage(problem) for problem in report.problems]


def look_at_broker(settings: Settings, queues: Iterable[str] = ()) -> BrokerReport:
    """Try the broker.

    Args:
        settings: where it is.
        queues: whose messages to count.

    Raises:
        InvalidSettings: the URL cannot be used.
    """
    address = read_address(settings.effective_broker_url())
    connection: Any = build_app(settings, "reconciler-doctor").connection_for_write()
    try:
        connection.connect()
        problems = _tried(connection, address, settings)
        waiting = (
            {}
            if problems
            else {
                queue: _waiting(connection, name_prefix(settings, address) + queue, address)
                for queue in queues
            }
        )
        return BrokerReport(address.shown, tuple(problems), waiting, lasting=bool(problems))
    except Exception as error:  # noqa: BLE001  # each transport has its own errors
        said = _said(error)
        lasting = next((why for word, why in _LASTING.items() if word in said), "")
        problem = _explained(address, settings, said, lasting)
        return BrokerReport(address.shown, (problem,), lasting=bool(lasting))
    finally:
        hang_up(connection)


def _tried(connection: Any, address: BrokerAddress, settings: Settings) -> list[str]:  # noqa: ANN401  # kombu is not typed
    if address.family == "redis":
        missing = missing_rights(connection.default_channel, settings.key_prefix)
        if missing:
            return rights_problem(f"the message broker at {address.shown}", missing)
    else:
        _send_and_take(connection)
    return []


def _send_and_take(connection: Any) -> None:  # noqa: ANN401  # as above
    """Send one message through a temporary queue, and take it."""
    name = f"reconciler-trial-{uuid.uuid4().hex}"
    channel = connection.channel()
    queue: Any = Queue(name, channel=channel, exclusive=True, auto_delete=True, durable=False)  # type: ignore[no-untyped-call]  # kombu is not typed
    queue.declare()
    Producer(channel).publish({}, routing_key=name, exchange="", retry=False)  # type: ignore[no-untyped-call]  # as above
    queue.get(no_ack=True)
    queue.delete()


def _waiting(connection: Any, queue: str, address: BrokerAddress) -> int | None:  # noqa: ANN401  # as above
    """Count the messages of a queue. On Redis it is declared first: kombu would not find it under our prefix."""
    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue=queue, passive=address.family != "redis").message_count)
    except connection.channel_errors:  # AMQP: no worker ever made it
        return None
    finally:
        channel.close()


def _said(error: Exception) -> str:
    # What urllib says of a wrong URL may quote the password.
    return "the URL cannot be read" if isinstance(error, ValueError) else plain(str(error)).rstrip(".")


def _explained(address: BrokerAddress, settings: Settings, said: str, lasting: str) -> str:
    variable = "RECONCILER_BROKER_URL" if settings.broker_url else "RECONCILER_REDIS_URL"
    where = f"the message broker at {address.shown}"
    right = right_of(said, settings.key_prefix) if address.family == "redis" else ""
    if right:
        return rights_problem(where, [right])[0]
    why = lasting.format(said=said, variable=variable) or refusal_of(said, variable)
    return f"{where} {why or f'does not answer ({said}): start it, or correct {variable}'}"


def answering(settings: Settings, workers: Sequence[str], replies: int) -> set[str]:
    """Find which of these workers answer a ping through the broker; return as soon as all have.

    Args:
        settings: where the broker is.
        workers: node names.
        replies: how many to wait for.
    """
    control: Any = build_app(settings, "reconciler-doctor").control
    answers: Any = control.broadcast(
        "ping", destination=list(workers), reply=True, timeout=_PATIENCE, limit=replies
    )
    return {name for answer in answers or () for name in answer}

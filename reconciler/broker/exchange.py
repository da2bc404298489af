"""Publish events to programs on RabbitMQ or Redis: one durable topic exchange, to which they bind their own queues.

The routing key is `project.domain.run.action.phase`. A name may hold dots, which separate the words of a key: they are
written `~` there, which no name can hold, so that a key always has five words and stands for one action.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from amqp.exceptions import (  # type: ignore[import-untyped]  # it has no types
    ContentTooLarge,
    MessageNacked,
    PreconditionFailed,
)
from kombu.connection import Connection
from kombu.entity import Exchange
from kombu.exceptions import BatchPublishError, OperationalError
from kombu.messaging import Producer

from reconciler.api.errors import BrokerUnavailable, EventRefused, InvalidSettings
from reconciler.api.event import ActionEvent
from reconciler.broker.address import BrokerAddress, read_address
from reconciler.broker.conf import exchange_options
from reconciler.broker.messenger import hang_up
from reconciler.core.documents import event_document
from reconciler.settings import Settings

LARGEST = 512 * 1024
"""Most bytes of a body: so much goes through every broker, in base64 too. Events of ours stay far below."""

_AMQP = ("amqp://", "amqps://", "pyamqp://")
_REFUSALS = (ContentTooLarge, PreconditionFailed, MessageNacked)
"""AMQP's answers to a message that is too large, and to one that a queue does not take, as a full one may."""
_NO_QUEUE = "caused error: WRONGTYPE"
"""What Redis says when a key that is bound as a queue holds something else."""


def routing_key(event: ActionEvent) -> str:
    """Write five words: project, domain, run, action and the phase entered, each without dots."""
    id_ = event.id
    words = (id_.project, id_.domain, id_.run, id_.action, str(event.phase))
    return ".".join(word.replace(".", "~") for word in words)


def dedupe_key(event: ActionEvent) -> str:
    """Return a key that is the same each time an event arrives, and different for any other event."""
    return f"{event.id}#{event.sequence}"


def exchange_problems(settings: Settings) -> list[str]:
    """List why events could not be forwarded with these settings, as sentences; empty also without an exchange."""
    try:
        if settings.events_exchange:
            _address(settings)
    except InvalidSettings as error:
        return error.problems
    return []


def _address(settings: Settings) -> BrokerAddress:
    address = read_address(settings.effective_exchange_url(), _variable(settings))
    if address.family == "other" and not address.url.startswith(_AMQP):
        raise InvalidSettings(
            [
                (
                    f"events cannot be forwarded to {address.shown!r}: other programs can bind queues on RabbitMQ "
                    "(amqp://), Redis and Valkey only. Name one of these in RECONCILER_EVENTS_EXCHANGE_URL"
                )
            ]
        )
    return address


def _variable(settings: Settings) -> str:
    """Name the setting that says where the exchange is."""
    if settings.events_exchange_url:
        return "RECONCILER_EVENTS_EXCHANGE_URL"
    return "RECONCILER_BROKER_URL" if settings.broker_url else "RECONCILER_REDIS_URL"


def _body(event: ActionEvent) -> bytes:
    body = msgspec.json.encode(event_document(event))
    if len(body) > LARGEST:
        raise EventRefused(f"it has {len(body)} bytes, at most {LARGEST} are forwarded")
    return body


def _said(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__


class EventExchange:
    """Publishes events; no call of the network waits without a limit. For one thread.

    The connection is opened by the first event and kept.
    """

    def __init__(self, settings: Settings) -> None:
        """Bind to an exchange. Nothing is opened.

        Args:
            settings: `events_exchange` and its URL; must not be empty.

        Raises:
            InvalidSettings: the URL cannot be used.
        """
        self._address = _address(settings)
        self._options = exchange_options(settings, self._address)
        # Those of a list; the transport for Sentinel goes through its list by itself.
        self._further_servers = self._address.url.count(";") if self._address.family == "other" else 0
        self._connect = settings.connect_timeout.total_seconds()
        self._timeout = settings.socket_timeout.total_seconds()
        self._exchange = Exchange(settings.events_exchange, type="topic", durable=True)  # type: ignore[no-untyped-call]  # kombu is not
        self._variable = _variable(settings)
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        # KeyError is among the errors for the sake of consumers; here it would hide a fault of ours.
        kinds = self._new_connection().get_transport_cls()  # type: ignore[no-untyped-call]  # kombu is not
        known = {*kinds.connection_errors, *kinds.channel_errors} - {KeyError}
        self._errors = (BatchPublishError, OperationalError, MessageNacked, *known)

    def publish(self, events: Sequence[ActionEvent]) -> None:
        """Hand events to the broker, in this order and in few round trips; returns when it has all of them.

        Raises:
            BrokerUnavailable: it does not answer in time, or takes nothing just now; some may have been sent.
            EventRefused: it will never take one of these events; some may have been sent.
        """
        bodies = [(event, _body(event)) for event in events]
        producer = self._opened()
        try:
            with producer.batch():  # type: ignore[no-untyped-call]  # kombu is not
                for event, body in bodies:
                    self._send(producer, event, body)
        except self._errors as error:
            reason = error.__cause__ if isinstance(error, BatchPublishError) and error.__cause__ else error
            if not isinstance(reason, MessageNacked):  # after which the channel is as good as before
                self.close()
            if isinstance(reason, _REFUSALS) or _NO_QUEUE in str(reason):
                raise EventRefused(f"the broker refuses it ({_said(reason)})") from error
            raise BrokerUnavailable(self._sentence(reason)) from error
        except BaseException:
            self.close()
            raise

    def _send(self, producer: Producer, event: ActionEvent, body: bytes) -> None:
        key = dedupe_key(event)
        producer.publish(  # type: ignore[no-untyped-call]  # kombu is not
            body,
            routing_key=routing_key(event),
            content_type="application/json",
            content_encoding="utf-8",
            message_id=key,
            headers={"dedupe_key": key},
            timeout=self._timeout,
            confirm_timeout=self._timeout,
        )

    def _opened(self) -> Producer:
        if self._producer is None:
            connection = self._connection = self._new_connection()
            try:
                # One try of each server. Kombu's way of opening a channel by itself would try for ever on AMQP.
                connection.ensure_connection(  # type: ignore[no-untyped-call]  # kombu is not
                    max_retries=self._further_servers, interval_start=0, reraise_as_library_errors=False
                )
                self._producer = Producer(connection.channel(), self._exchange)  # type: ignore[no-untyped-call]  # kombu is not
            except self._errors as error:
                self.close()
                raise BrokerUnavailable(self._sentence(error)) from error
            except BaseException:
                self.close()
                raise
        return self._producer

    def _new_connection(self) -> Connection:
        return Connection(  # type: ignore[no-untyped-call]  # kombu is not
            self._address.url,
            transport=self._address.transport,
            ssl=self._address.tls or False,
            connect_timeout=self._connect,
            transport_options=self._options,
        )

    def _sentence(self, error: BaseException) -> str:
        return (
            f"the exchange {self._exchange.name!r} at {self._address.shown} takes no events "
            f"({_said(error)}). They wait in the results channel. "
            f"Start the broker, or correct {self._variable}."
        )

    def close(self) -> None:
        """Close the connection without waiting for the broker. The next event opens another one."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            hang_up(connection)

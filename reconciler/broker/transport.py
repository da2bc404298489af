"""The Redis transport of kombu, without the faults that end workers or waste their time.

kombu 5.7 as it comes, each measured:

1. A worker that holds an unacknowledged message when the broker goes away *exits*: closing the channel wants
   to hand the message back over a connection that no longer exists. Here it stays in the `unacked` hash, from
   where any worker restores it after the visibility timeout.
2. A task that ends after such an outage acknowledges on the closed channel, which also ends the worker. Redis
   knows no channels: here the acknowledgement goes over a connection of its own, and nothing runs twice.
3. Each command builds a new client object: 15-30 % of a worker's time. Here a channel has one per pool.
4. After the first failed connect, a list of Sentinels falls back to the stock transport, and so to fault 1.
5. What lies in a queue and is no message (no JSON, JSON of another form, too large) ends the worker that takes it, and the
   next one as well if it had been handed back. Here it is logged and dropped: a message holds no truth.
6. A half-open line of the consumer is looked for every `health_check_interval`: 6-11 s. Here every second: 6-7 s.
7. A consumer whose slots were taken asks a half-open line for a whole time limit, in the event loop. Here for a second.
8. An error reply to a consumer (a demoted server, too few replicas, no disk, a right taken away, a queue's key that is no
   list) ends the worker. Here it asks again, with pauses (`rest.py`), over a new connection.

Also noted is that the consumer is heard (`liveness.py`), so that one which has stopped asking is noticed.

`address.py` chooses the class by URL scheme. Celery gets its name: `reconciler.broker.transport:Transport`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty
from typing import Any

from kombu.connection import Connection
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as stock
from kombu.utils.json import dumps

from reconciler.broker.envelope import LARGEST_MESSAGE, check_envelope
from reconciler.broker.liveness import liveness
from reconciler.broker.rest import Rest
from reconciler.connections import answers, guard

_HERE = "reconciler.broker.transport"
PLAIN = f"{_HERE}:Transport"
TLS = f"{_HERE}:TLSTransport"
SENTINEL = f"{_HERE}:SentinelTransport"
SOCKET_ALIAS = "reconciler"
"""First part of `reconciler+socket:///path`: for sockets kombu takes the transport from the URL alone."""

TRANSPORT_ALIASES[SOCKET_ALIAS] = PLAIN
# Logs and Flower read the transport's name as the scheme of a URL.
Connection.resolve_aliases.update({PLAIN: "redis", TLS: "rediss", SENTINEL: "sentinel"})

logger = logging.getLogger(__name__)

_LOOK_EVERY = 1.0
"""Seconds between two looks whether the consumer's line is half-open: its answer is 5 s late then."""


class QoS(stock.QoS):
    """Book-keeping of unacknowledged messages that survives the connection they came over."""

    def restore_unacked(self, client: Any = None) -> None:  # noqa: ANN401  # kombu hands in a client of its own
        """Hand unacknowledged messages back; without a broker, leave them to the visibility timeout.

        Args:
            client: a connected client; the channel's when not given.
        """
        try:
            super().restore_unacked(client)  # type: ignore[no-untyped-call]  # kombu is not
        except (*self.channel.connection_errors, self.channel.ResponseError) as error:
            logger.warning(
                "the broker does not answer (%s): %d unacknowledged messages stay in %r "
                "and are delivered again after the visibility timeout",
                error, len(self._delivered), self.unacked_key,
            )  # fmt: skip
            self._delivered.clear()

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, also when an outage has closed its channel."""
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # kombu is not
        except self.channel.ResponseError as error:
            self._settled_here(delivery_tag, error)
        finally:
            self._leave_nothing_open()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002  # kombu's signature
        """Drop or requeue a message, also when an outage has closed its channel."""
        try:
            super().reject(delivery_tag, requeue=requeue)  # type: ignore[no-untyped-call]  # kombu is not
        except self.channel.ResponseError as error:
            self._settled_here(delivery_tag, error)
        finally:
            self._leave_nothing_open()

    def _settled_here(self, delivery_tag: str, error: Exception) -> None:
        """Settle a message here that the broker will not settle: it is delivered again, and then refused by the record."""
        logger.warning(
            "the broker refuses an acknowledgement (%s): its message comes again after the visibility timeout",
            error,
        )
        virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]  # else it counts as work in hand

    def _leave_nothing_open(self) -> None:
        if self.channel.closed:  # the connection was opened for this one command
            self.channel.drop_connections()


class WakeUps(virtual.QoS):
    """Book-keeping of messages that may be lost: in this process alone, without a round trip (`ack_emulation` off).

    A clean stop still hands back what was not begun. What a killed worker held is sent again by the resync sweep.
    """

    def restore_unacked(self) -> None:
        """Hand back what was not acknowledged; without a broker, leave it to the sweep."""
        try:
            super().restore_unacked()  # type: ignore[no-untyped-call]  # kombu is not
        except (*self.channel.connection_errors, self.channel.ResponseError) as error:
            logger.warning(
                "the broker does not answer (%s): %d wake-ups are left to the sweep",
                error,
                len(self._delivered),
            )
            self._delivered.clear()


class _TooLarge(ValueError):
    """A message that is too large to be parsed."""


def _answer(parse: Callable[..., Any], *given: Any, **options: Any) -> Any:  # noqa: ANN401  # redis-py's
    """Read the answer to a consumer's command; a message that is too large to be ours is not parsed."""
    answer = parse(*given, **options)
    match answer:
        case [_, (bytes() | str()) as message] if len(message) > LARGEST_MESSAGE:
            raise _TooLarge(f"{len(message)} bytes, {LARGEST_MESSAGE} are allowed")
    return answer


def _no_message(error: Exception) -> str:
    return "too large" if isinstance(error, _TooLarge) else "no JSON"


class _Steady:
    """The part of our channels that gives them one client per pool, and a way to Redis after closing."""

    _steady_client: Any = None
    _steady_pool: Any = None
    _in_listen: Any
    receivers: int | None = None
    """How many heard the last publication to an exchange that keeps nothing, as Celery's events; None: there was none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # handed through to kombu
        super().__init__(*args, **kwargs)
        self._messages, self._news = Rest("give messages"), Rest("give news of other workers")
        if not self.ack_emulation:  # type: ignore[attr-defined]  # the other base has it
            self.QoS: Any = WakeUps

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002  # kombu's signature
        if asynchronous:  # BRPOP and PUBSUB pin a connection to their client, which nobody else may use
            client = super()._create_client(asynchronous=True)  # type: ignore[misc]  # the other base has it
            client.parse_response = partial(_answer, client.parse_response)
            return client
        pool = self.pool  # type: ignore[attr-defined]  # the other base has it
        if self._steady_client is None or self._steady_client.connection_pool is not pool:
            # The old pool belonged to the parent process, or to a connection that was lost.
            self._steady_client = super()._create_client()  # type: ignore[misc]  # the other base has it
        return self._steady_client

    def _get_pool(self, asynchronous: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002  # kombu's signature
        transport = self.connection  # type: ignore[attr-defined]  # the other base has it
        if transport is not None and transport.client is not None:
            pool = super()._get_pool(asynchronous)  # type: ignore[misc]  # the other base has it
            if not asynchronous:  # the consumer's lines have checks of their own
                guard(pool)
                self._steady_pool = pool
            return pool
        if self._steady_pool is None:
            raise ConnectionError("this channel was closed before it was used")
        return self._steady_pool

    def _brpop_start(self, timeout: float | None = None) -> None:
        if self._messages.resting():
            return
        # Slots were taken for a while. redis-py would ask for a whole time limit, and the event loop would stand still.
        if answers(self.client.connection):  # type: ignore[attr-defined]  # the other base has it
            super()._brpop_start(timeout)  # type: ignore[misc]  # the other base has it
        # else the next turn of the event loop connects anew

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401  # handed through to kombu
        try:
            taken = super()._brpop_read(**options)  # type: ignore[misc]  # the other base has it
        except Empty:
            liveness.beat()
            self._messages.answered()
            raise
        except self.ResponseError as error:  # type: ignore[attr-defined]  # the other base has it
            liveness.beat()
            self._messages.refused(error)
            # A new one may lead to another server, which Sentinel or a name service has promoted.
            self.client.connection.disconnect()  # type: ignore[attr-defined]  # as above
            raise Empty from None
        except (ValueError, RecursionError) as error:
            liveness.beat()
            text = str(getattr(error, "doc", ""))
            logger.error(  # noqa: TRY400  # the traceback would show the parser
                "dropped what is no message, since it is %s (%s): %.200r", _no_message(error), error, text
            )
            raise Empty from None
        liveness.beat()
        self._messages.answered()
        return taken

    def _subscribe(self) -> None:
        if not self._news.resting():
            super()._subscribe()  # type: ignore[misc]  # the other base has it

    def _receive(self) -> Any:  # noqa: ANN401  # kombu's signature
        try:
            taken = super()._receive()  # type: ignore[misc]  # the other base has it
        except self.ResponseError as error:  # type: ignore[attr-defined]  # as above
            self._news.refused(error)
            self._in_listen = None
            return False
        self._news.answered()
        return taken

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **options: Any) -> None:  # noqa: ANN401  # kombu's
        if options.get("_publish_batch") is not None:
            super()._put_fanout(exchange, message, routing_key, **options)  # type: ignore[misc]  # the other base has it
            return
        payload = dumps(message)  # type: ignore[no-untyped-call]  # kombu is not
        with self.conn_or_acquire() as client:  # type: ignore[attr-defined]  # the other base has it
            topics = self._get_publish_topics(exchange, routing_key)  # type: ignore[attr-defined]  # as above
            self.receivers = sum(client.publish(topic, payload) for topic in topics)

    def drop_connections(self) -> None:
        """Close this channel's connections to Redis. The next command opens new ones."""
        self._disconnect_pools()  # type: ignore[attr-defined]  # the other base has it


class Channel(_Steady, stock.Channel):
    """A channel to one Redis or Valkey server."""

    QoS: Any = QoS


class SentinelChannel(_Steady, stock.SentinelChannel):
    """A channel to the primary that Sentinel names."""

    QoS: Any = QoS


class _Heard:
    """The part of our transports that notes when the event loop turns, and looks for a dead connection in time."""

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ANN401  # kombu's objects
        """Follow the consumer of this connection."""
        super().register_with_event_loop(connection, loop)  # type: ignore[misc]  # the other base has it
        cycle = self.cycle  # type: ignore[attr-defined]  # the other base has it
        liveness.follow(cycle)
        loop.on_tick.add(partial(liveness.turn, cycle))
        cycle._brpop_health_tref.cancel()  # noqa: SLF001  # kombu's own; there it comes with the tolerance
        cycle._brpop_health_tref = loop.call_repeatedly(_LOOK_EVERY, cycle.maybe_check_brpop_health)  # noqa: SLF001  # as above


_OWN_TALK = re.compile(r"\.pidbox$|^celeryev")
"""Queues in which Celery's processes talk with each other; they hold no tasks."""


class _Picky:
    """The part of our transports that keeps a message from ending the worker that takes it."""

    def _deliver(self, message: Any, queue: str) -> None:  # noqa: ANN401  # whatever lies in a queue
        try:
            if not _OWN_TALK.search(queue):
                check_envelope(message)
            super()._deliver(message, queue)  # type: ignore[misc]  # the other base has it
        except Exception as error:
            # kombu counts KeyError among them; here it says that a part of the message is missing
            if isinstance(error, _errors_of_line(self)):
                raise
            logger.error(  # noqa: TRY400  # the traceback would show the parser
                "dropped a message of queue %r that cannot be read (%s: %s): %.200r",
                queue, type(error).__name__, error, message,
            )  # fmt: skip
            self._forget(message)

    def _forget(self, message: Any) -> None:  # noqa: ANN401  # as above
        """Forget a message that may be taken already: it must not come again, nor count as being worked on."""
        for channel in self.channels:  # type: ignore[attr-defined]  # the other base has it
            with suppress(TypeError, LookupError):  # one without a tag was not taken
                tag = message["properties"]["delivery_tag"]
                if tag in channel.qos._delivered:  # noqa: SLF001  # kombu has no question for it
                    channel.basic_reject(tag, requeue=False)


def _errors_of_line(transport: Any) -> tuple[type[BaseException], ...]:  # noqa: ANN401  # kombu has no types
    return tuple({*transport.connection_errors, *transport.channel_errors} - {KeyError})


class Transport(_Heard, _Picky, stock.Transport):
    """`redis://` and Unix sockets."""

    Channel = Channel


class TLSTransport(Transport):
    """`rediss://`: a class of its own, so that logs and Flower name the scheme in use."""


class SentinelTransport(_Heard, _Picky, stock.SentinelTransport):
    """`sentinel://`."""

    Channel = SentinelChannel

    def __init__(self, client: Connection, **options: Any) -> None:  # noqa: ANN401  # handed through to kombu
        # The pool knows all Sentinels; kombu's fail-over to the next URL would load the stock transport.
        client.cycle = None
        super().__init__(client, **options)  # type: ignore[no-untyped-call]  # kombu is not

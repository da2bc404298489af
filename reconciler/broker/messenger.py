"""Sends wake-ups and tickets through Celery, each within a bounded time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from celery import Celery
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.exceptions import BatchPublishError, OperationalError
from kombu.messaging import Producer
from kombu.utils.uuid import uuid

from reconciler.api.errors import BrokerUnavailable
from reconciler.broker.address import read_address
from reconciler.broker.messages import RECONCILE, RUN_ATTEMPTS
from reconciler.core.refusals import refusal_of
from reconciler.settings import Settings


class CeleryMessenger:
    """A `Messenger` that publishes to Celery's broker.

    May be shared by threads and used on both sides of a fork: a producer belongs to one caller at a time, and
    to the process that opened it. Connections are opened on first use and kept, one for each thread that
    sends at the same time as others. Each network operation is tried once.
    """

    def __init__(self, app: Celery, settings: Settings) -> None:
        """Bind to an application. Nothing is opened.

        Args:
            app: from `build_app`, or one with the same configuration.
            settings: names of the queues, and the URL that errors speak of.

        Raises:
            InvalidSettings: the broker's URL cannot be used.
        """
        address = read_address(settings.effective_broker_url())
        kombu_transport = app.connection_for_write().get_transport_cls()
        self._app = app
        self._steps_queue = settings.steps_queue
        self._where = address.shown
        self._variable = "RECONCILER_BROKER_URL" if settings.broker_url else "RECONCILER_REDIS_URL"
        # Redis pushes to a list, declared or not, and declaring costs 100 µs. AMQP drops what has no queue.
        self._declare: Sequence[Queue] | None = () if address.family == "redis" else None
        self._errors = (
            OperationalError,
            BatchPublishError,
            # KeyError is among them for the sake of consumers; here it would hide a fault of ours.
            *({*kombu_transport.connection_errors, *kombu_transport.channel_errors} - {KeyError}),
        )
        self._pid = os.getpid()
        self._idle: deque[Producer] = deque()

    def wake(self, shard: int, countdown: float = 0.0) -> None:
        """Ask for a reconcile step of `shard` in `countdown` seconds.

        Args:
            shard: number of the shard.
            countdown: seconds to wait; 0 means at once.

        Raises:
            BrokerUnavailable: the broker refuses, or does not answer within `socket_timeout`.
        """
        message = self._app.amqp.create_task_message(
            uuid(),
            RECONCILE,
            (shard,),
            {},
            countdown=countdown if countdown > 0 else None,
            argsrepr=f"shard {shard}",
            kwargsrepr="",
            ignore_result=True,
        )
        with self._producer() as producer:
            self._send(producer, RECONCILE, message, self._steps_queue)

    def ticket(self, queue: str) -> None:
        """Send a ticket to a queue.

        Raises:
            BrokerUnavailable: the broker refuses, or does not answer within `socket_timeout`.
        """
        message = self._app.amqp.create_task_message(
            uuid(), RUN_ATTEMPTS, (queue,), {}, argsrepr=f"queue {queue}", kwargsrepr="", ignore_result=True
        )
        with self._producer() as producer:
            self._send(producer, RUN_ATTEMPTS, message, queue)

    def waiting(self, queue: str) -> int:
        """Count the messages of a queue that no worker has taken.

        Raises:
            BrokerUnavailable: the broker refuses, or does not answer within `socket_timeout`.
        """
        with self._producer() as producer:
            declared = self._app.amqp.queues[queue].bind(producer.channel)
            # Not passive: Redis knows no empty list, and on AMQP nobody may have made the queue yet.
            return int(declared.queue_declare().message_count)

    def close(self) -> None:
        """Close the connections of this process that are not in use. The messenger stays usable."""
        idle = self._mine()
        while idle:
            try:
                producer = idle.pop()
            except IndexError:  # another thread took the last one
                return
            hang_up(producer.connection)

    def _send(self, producer: Producer, name: str, message: object, queue: str) -> None:
        # What `Celery.send_task` does in the end; its routes, results and parents would double the cost.
        send = self._app.amqp.send_task_message
        # Not by its name, which Celery would send to as it is.
        send(producer, name, message, queue=self._app.amqp.queues[queue], declare=self._declare, retry=False)

    def _mine(self) -> deque[Producer]:
        """Return the idle producers of this process: after a fork none, for the sockets are the parent's."""
        if self._pid != os.getpid():
            # No lock: one that was held at the moment of the fork would never be released. Two threads that
            # come here at once make two queues; what lies in the one that loses is closed when collected.
            self._idle = deque()
            self._pid = os.getpid()
        return self._idle

    @contextmanager
    def _producer(self) -> Iterator[Producer]:
        idle = self._mine()
        try:
            producer = idle.pop()
        except IndexError:
            producer = Producer(self._app.connection_for_write())  # type: ignore[no-untyped-call]  # kombu is not
        try:
            yield producer
        except self._errors as error:
            hang_up(producer.connection)
            self.close()  # the idle ones are as old, and each would cost a time limit to find out
            raise BrokerUnavailable(outage(error, self._where, self._variable)) from error
        except BaseException:
            hang_up(producer.connection)
            raise
        idle.append(producer)


def outage(error: BaseException, where: str, variable: str) -> str:
    """Say that a broker took no message, why, and what to do.

    Args:
        error: of kombu or of the client of the broker.
        where: the broker, as errors speak of it.
        variable: the setting that names it.
    """
    if isinstance(error, BatchPublishError) and error.__cause__ is not None:
        error = error.__cause__
    said = str(error).rstrip(".")
    why = refusal_of(said, variable)
    safe = "What was stored is safe, and the sweep sends again."
    if why:
        return f"the message broker at {where} {why}. {safe}"
    return f"the message broker at {where} takes no messages ({said}). {safe} Start the broker, or correct {variable}."


def hang_up(connection: Connection) -> None:
    """Close a connection without waiting for the broker."""
    # AMQP says good-bye and waits for the answer, unless told to collect.
    leave = connection.collect if hasattr(connection.transport, "_collect") else connection.close
    leave()  # type: ignore[no-untyped-call]  # kombu is not

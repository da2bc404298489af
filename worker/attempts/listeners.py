"""Knows whether somebody hears Celery's events, from what the broker says of each that is sent: nothing is asked beside."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import Any, Final

_QUIET: Final = 2.0
"""Seconds for which nothing is sent after an event that nobody heard. Then the next one is, to see whether somebody does."""
_PATIENCE: Final = 0.5
"""Seconds RabbitMQ has to say whether it took an event; it says nothing while it has no memory or disk left."""


class Listeners:
    """The knowledge of this process whether its events are heard.

    Redis answers each publication with the number of its receivers, and RabbitMQ gives back what it can route to no queue.
    Where a broker says neither, somebody is taken to listen.
    """

    def __init__(self) -> None:
        self._quiet_until = 0.0
        self._returned = False

    def may_listen(self) -> bool:
        """Tell whether somebody may listen now."""
        return monotonic() >= self._quiet_until

    def connection(self, app: Any) -> Any:  # noqa: ANN401  # Celery has no types
        """Make a connection to send events by, whose broker says whether they were heard."""
        connection = app.connection_for_write()
        if connection.transport.driver_type == "amqp":
            connection.transport_options = {**connection.transport_options, "confirm_publish": True}
        return connection

    def follow(self, dispatcher: Any) -> None:  # noqa: ANN401  # as above
        """Have the broker give back what nobody hears, where it does that only when asked (RabbitMQ)."""
        producer = dispatcher.producer
        if producer.connection.transport.driver_type != "amqp":
            return
        publish = producer.publish
        producer.channel.events["basic_return"].add(self._given_back)
        producer.publish = partial(publish, mandatory=True, confirm_timeout=_PATIENCE)

    def sent(self, dispatcher: Any) -> bool:  # noqa: ANN401  # as above
        """Note the result of sending events just now; return whether somebody heard them."""
        heard = not self._returned and getattr(dispatcher.producer.channel, "receivers", None) != 0
        self._returned = False
        if not heard:
            self._quiet_until = monotonic() + _QUIET
        return heard

    def _given_back(self, *_: object) -> None:
        self._returned = True

"""Decide what of a message reaches Celery: anybody who can write to a queue decides what is in a message.

A wake-up and a ticket say one thing, in their arguments. All else that Celery reads of a message can only do harm: time
limits kill a process of the pool, embedded callbacks, chains and chords send messages to any task, a start in the year 9999
is held in memory for good, compression turns a kilobyte into ten gigabytes, names and texts reach logs and Flower. So the
headers are made anew, and of the body the arguments alone are kept.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import structlog
from celery import Celery
from celery.worker.consumer import Consumer as _Celerys
from celery.worker.strategy import default
from kombu import compression
from kombu.serialization import dumps

from reconciler.broker.envelope import LARGEST_BODY, NAME
from reconciler.broker.messages import RECONCILE
from worker.process import current_settings
from worker.slots import slots

log = structlog.get_logger(__name__)
_celery_log = logging.getLogger(__name__)

STRATEGY: Final = "worker.receiving:strategy"
"""What a task of ours is declared with."""
CONSUMER: Final = "worker.receiving:Consumer"
"""What a worker of ours takes messages with."""
_CLOCKS: Final = timedelta(hours=1)
"""Largest difference of the clocks of sender and worker."""
_NAME: Final = re.compile(NAME)


class Refused(ValueError):
    """A message that is dropped; the text says why."""


class Consumer(_Celerys):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer, which drops what names no task of this worker, whichever broker it comes from.

    Celery looks the name up, and reports what it does not find, before any of our code is asked. A name that is no text, or
    a report on a message without an id, ends the worker; RabbitMQ then gives the same message to the next one.
    """

    def create_task_handler(self, *given: Any, **named: Any) -> Callable[[Any], None]:  # noqa: ANN401  # handed through to Celery
        """Return what is called with each message."""
        handle = super().create_task_handler(*given, **named)

        def receive(message: Any) -> None:  # noqa: ANN401  # kombu's message has no type
            name = message.headers.get("task") if isinstance(message.headers, dict) else None
            if isinstance(name, str) and name in self.strategies:
                handle(message)
                return
            log.warning(
                "message.refused", task=None, problem=f"it names no task of this worker: {name!r:.80}"
            )
            message.reject_log_error(_celery_log, self.connection_errors)

        return receive


def strategy(task: Any, app: Celery, consumer: Any) -> Callable[..., Any]:  # noqa: ANN401  # Celery has no types
    """Receive messages of a task as Celery does, after we have checked them."""
    handle = default(task, app, consumer)
    slots.watch(consumer.pool)

    def receive(message: Any, body: object, *given: Any, **named: Any) -> Any:  # noqa: ANN401  # as above
        try:
            tidy(message, body, task.name)
        except Refused as error:
            log.warning("message.refused", task=task.name, problem=str(error))
            message.reject_log_error(_celery_log, consumer.connection_errors)
            return None
        return handle(message, None, *given, **named)

    return receive


def tidy(message: Any, body: object, task: str) -> None:  # noqa: ANN401  # kombu's message has no type
    """Reduce a message to what we act on, whichever broker it comes from.

    Raises:
        Refused: nothing of it can be used.
    """
    if body is not None:
        raise Refused("it is of protocol 1 of Celery, which nobody here sends")
    if len(message.body or "") > LARGEST_BODY:
        raise Refused(f"its body has more than {LARGEST_BODY} bytes")
    message.headers = _headers(message.headers, task)
    message.properties.pop("reply_to", None)
    _keep_arguments(message)


def _headers(given: dict[str, Any], task: str) -> dict[str, Any]:
    number = given.get("id")
    if not isinstance(number, str) or not _NAME.fullmatch(number):
        raise Refused(f"its id is none: {number!r:.80}")
    return {
        "lang": "py",
        "task": task,
        "id": number,
        "root_id": number,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "ignore_result": True,
        # the sweeps and tickets begin at once; a sweep that waited too long for a worker is not made up for
        "eta": _start(given.get("eta")) if task == RECONCILE else None,
        "expires": _expiry(given.get("expires")),
        "argsrepr": "",
        "kwargsrepr": "",
    }


def _start(text: object) -> str | None:
    when = _time("start", text)
    if when is not None and when - datetime.now(UTC) > current_settings().max_countdown + _CLOCKS:
        raise Refused(f"its start, {text}, is later than any of ours")
    return None if when is None else when.isoformat()


def _expiry(text: object) -> str | None:
    when = _time("expiry", text)
    return None if when is None else when.isoformat()


def _time(what: str, text: object) -> datetime | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(str(text))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(f"its {what} is no time: {text!r:.80}") from None


def _keep_arguments(message: Any) -> None:  # noqa: ANN401  # as above
    match message.payload:
        case [list() as args, dict() as named, embedded]:
            pass
        case _:
            raise Refused(
                "its body does not have the arguments, the named arguments and the rest, in this order"
            )
    if isinstance(embedded, dict) and not any(embedded.values()):
        return
    log.warning(
        "message.cut", task=message.headers["task"], id=message.headers["id"], what="embedded signatures"
    )
    kind, encoding, message.body = dumps([args, named, {}], serializer="json")  # type: ignore[no-untyped-call]  # kombu is not
    message.content_type, message.content_encoding = kind, encoding
    message._decoded_cache = None  # noqa: SLF001  # else it goes on with what it has read


def refuse_compression() -> None:
    """Let this process unpack no message: none of us packs any."""
    for kind in compression.encoders():  # type: ignore[no-untyped-call]  # kombu is not
        pack, _ = compression.get_encoder(kind)  # type: ignore[no-untyped-call]  # as above
        compression.register(pack, _refuse, kind)  # type: ignore[no-untyped-call]  # as above


def _refuse(_body: object) -> NoReturn:
    raise Refused("it is compressed, and nobody here compresses messages")

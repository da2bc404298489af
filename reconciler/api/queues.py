"""Names of queues: the rule of names, less what Celery, kombu and RabbitMQ keep for themselves.

The keys of our Redis transport need no place in this list: they hold a `:` or begin with `_`, which no name can
(`broker/conf.py`).
"""

from __future__ import annotations

import re
from contextlib import suppress

from reconciler.api.errors import InvalidName, InvalidSpec
from reconciler.api.names import check_name

LONGEST_QUEUE = 63
_TALK = re.compile(r"celeryev|.*\.pidbox$|amq\.", re.ASCII | re.IGNORECASE)
"""Where Celery's processes talk with each other, and what RabbitMQ lets nobody declare."""
_RETIRED = re.compile(r"(?:attempts_)?unacked(?:_index|_mutex)?", re.ASCII)
"""Keys of the transport up to 0.7: a worker of such a release beside ours, or what it left, would meet the queue."""


def check_queue(name: object, what: str = "queue") -> str:
    """Check the name of a queue and return it.

    Args:
        name: the candidate.
        what: what is named, for the sentence.

    Raises:
        InvalidName: it breaks the rule of names, or belongs to the message system.
    """
    text = check_name(what, name, LONGEST_QUEUE)
    if _TALK.match(text) or _RETIRED.fullmatch(text):
        raise InvalidName(
            f"{what} {text!r} is not allowed: the message system uses this name itself; choose another one"
        )
    return text


def is_queue(name: str) -> bool:
    """Tell whether a queue may have this name."""
    with suppress(InvalidName):
        return bool(check_queue(name))
    return False


def read_weight(text: str) -> tuple[str, float]:
    """Read the weight of a fair key, as in `etl=3`.

    Raises:
        InvalidSpec: not of that form.
    """
    key, equals, number = text.rpartition("=")
    try:
        weight = float(number) if key and equals else 0.0
    except ValueError:
        weight = 0.0
    if not 0.001 <= weight <= 1000:
        raise InvalidSpec(f"{text!r} is no weight from 0.001 to 1000 of a fair key; write it as in etl=3")
    return key, weight


def check_attempts_queue(name: object, steps_queue: str, exchange: str = "") -> str:
    """Check the name of a queue for attempts and return it.

    Args:
        name: the candidate.
        steps_queue: where reconcile steps run, with the rights of the installation.
        exchange: the exchange events are forwarded to, if any.

    Raises:
        InvalidName: as `check_queue`, or it belongs to the steps or the events.
    """
    text = check_queue(name)
    if text == steps_queue:
        raise InvalidName(
            f"queue {text!r} is not allowed: it is the queue of reconcile steps, and users' code does not run there; "
            "choose another one"
        )
    if exchange and text == exchange:
        raise InvalidName(
            f"queue {text!r} is not allowed: the exchange of events has this name; choose another one"
        )
    return text

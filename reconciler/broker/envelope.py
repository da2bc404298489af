"""Check the form of a message in a queue before Celery sees it.

Celery trusts the fields around a body: one of a wrong type ends the worker, some of them only later, out of reach of whoever
handed the message over.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

LARGEST_BODY: Final = 1 << 20
"""Bytes; ours have some hundred."""
LARGEST_MESSAGE: Final = LARGEST_BODY * 2
"""Bytes of a message with all that is around its body, which may be in base64."""
NAME: Final = r"[A-Za-z0-9_.:@-]{1,128}"
"""Pattern of what is logged as it is: names of tasks and ids of messages."""

_Name = Annotated[str, msgspec.Meta(pattern=f"^{NAME}$")]
_Time = Annotated[str, msgspec.Meta(max_length=64)]


class _Place(msgspec.Struct, frozen=True):
    exchange: str
    routing_key: str


class _Properties(msgspec.Struct, frozen=True):
    delivery_tag: str
    delivery_info: _Place
    body_encoding: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    priority: int | None = None


class _Headers(msgspec.Struct, frozen=True):
    """The headers of Celery's protocol 2 that Celery reads; we use no others."""

    task: _Name
    id: _Name
    lang: str | None = None
    origin: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    shadow: str | None = None
    eta: _Time | None = None
    expires: _Time | None = None
    retries: int = 0
    timelimit: tuple[float | None, float | None] = (None, None)
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: int | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    compression: None = None
    """A kilobyte of it can be ten gigabytes, and nobody here compresses."""


class _Envelope(msgspec.Struct, frozen=True):
    body: Annotated[str, msgspec.Meta(max_length=LARGEST_MESSAGE)]
    headers: _Headers
    properties: _Properties
    content_type: str = msgspec.field(name="content-type")
    content_encoding: str = msgspec.field(name="content-encoding")


def check_envelope(message: object) -> None:
    """Check a message of a task queue, as kombu has read it from JSON.

    Raises:
        msgspec.ValidationError: a field is missing or of a wrong type; says which.
    """
    msgspec.convert(message, _Envelope)

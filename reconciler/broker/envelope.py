"""The form of a message in a queue, checked before Celery sees it.

Celery trusts the fields around a body: one of a wrong type ends the worker, some of them only later, out of reach of whoever
handed the message over.
"""

from __future__ import annotations

from typing import Any

import msgspec


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
    """What Celery reads of its protocol 2; we use no more of it than this."""

    task: str
    id: str
    lang: str | None = None
    origin: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    retries: int = 0
    timelimit: tuple[float | None, float | None] = (None, None)
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: int | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    compression: str | None = None


class _Envelope(msgspec.Struct, frozen=True):
    body: str
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

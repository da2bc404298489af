"""The form of a message: ours passes, and each wrong field is named."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kombu.serialization import dumps

from reconciler.broker.conf import build_app
from reconciler.broker.envelope import check_envelope
from reconciler.broker.messages import RECONCILE
from reconciler.settings import Settings


def message(*, ignored: bool | None = True) -> dict[str, Any]:
    """What Celery and kombu make of a wake-up with a countdown, as a worker reads it."""
    app = build_app(Settings())
    made = app.amqp.create_task_message(
        "x", RECONCILE, (3,), {}, countdown=5, expires=9, ignore_result=ignored
    )
    kind, encoding, body = dumps(made.body, serializer="json")  # type: ignore[no-untyped-call]  # kombu has no types
    properties = {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "steps"}}
    content = {"body": body, "content-type": kind, "content-encoding": encoding}
    text = json.dumps({**content, "headers": made.headers, "properties": {**made.properties, **properties}})
    read: dict[str, Any] = json.loads(text)
    app.close()
    return read


def test_what_celery_makes_passes() -> None:
    """Each field that our Celery writes is one we know in that type."""
    check_envelope(message())
    check_envelope(message(ignored=None))  # as `send_task` has it


@pytest.mark.parametrize(
    ("part", "field", "wrong"),
    [
        ("headers", "timelimit", [1]), ("headers", "id", None), ("headers", "task", 7), ("headers", "retries", "0"),
        ("headers", "eta", 5), ("headers", "eta", "9" * 65), ("headers", "id", "\x1b[31m"), ("headers", "task", "a\nb"),
        ("headers", "compression", "application/x-bz2"), ("headers", "stamps", []), ("properties", "delivery_tag", None),
        ("properties", "delivery_info", {"exchange": ""}),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(part: str, field: str, wrong: object) -> None:
    """A field of another type is refused by its name."""
    bad = message()
    bad[part][field] = wrong
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{part}\.{field}"):
        check_envelope(bad)


@pytest.mark.parametrize("bad", [None, 7, [], {}, {"body": "e30="}])
def test_what_is_no_message_is_refused(bad: object) -> None:
    """Any other JSON is refused."""
    with pytest.raises(msgspec.ValidationError):
        check_envelope(bad)

"""Tell what can be stored: each part of a record and each event has a JSON form."""

from __future__ import annotations

import msgspec

from reconciler.stores.base import Write

UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError)
"""What is raised for a value that has no JSON form: another type, half a character, too large, too deep."""

_encode = msgspec.json.Encoder().encode


def check_writable(write: Write) -> None:
    """Encode all that a write stores, as a store does that sends it.

    Raises:
        UNWRITABLE: one of these, for a value that has no JSON form.
    """
    if write.status:
        _encode(write.action.status)
    if write.metadata:
        _encode(write.action.metadata)
    for event in write.events:
        _encode(event)

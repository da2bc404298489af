"""Encode and decode an event: the same form in the results channel and in the archive."""

from __future__ import annotations

import msgspec

from reconciler.api.event import ActionEvent
from reconciler.api.texts import plain

_encode_plain = msgspec.json.Encoder(enc_hook=plain).encode
_event = msgspec.json.Decoder(ActionEvent)


def encode_event(event: ActionEvent) -> bytes:
    """Encode an event; a report time equal to the time of the change is left out, as it nearly always is."""
    if event.reported_time == event.updated_time:
        event = msgspec.structs.replace(event, reported_time=0)
    return _encode_plain(event)


def decode_event(data: bytes) -> ActionEvent:
    """Decode an event as it is published.

    Raises:
        msgspec.DecodeError: the bytes are no event; the message names the place.
    """
    event = _event.decode(data)
    return event if event.reported_time else msgspec.structs.replace(event, reported_time=event.updated_time)

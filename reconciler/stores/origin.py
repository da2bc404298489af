"""The fields of a record that say where it comes from: who submitted it, in which trace, and which run it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from reconciler.api.action import TaskAction
from reconciler.api.audit import Ruling, Who
from reconciler.api.lineage import Lineage
from reconciler.core.children import GROUPS

_encode = msgspec.json.Encoder().encode
_who = msgspec.json.Decoder(Who)
_ruling = msgspec.json.Decoder(Ruling)
_rulings = msgspec.json.Decoder(tuple[Ruling, ...])
_lineage = msgspec.json.Decoder(Lineage)


def fields_of(action: TaskAction) -> dict[bytes, bytes]:
    """Encode where a new record comes from; for a group also that ends are listed, for a recovered action its answer."""
    metadata = action.metadata
    fields = {} if metadata.submitted is None else {b"by": _encode(metadata.submitted)}
    if action.spec.task_type in GROUPS:
        fields[b"el"] = b"1"
    if metadata.traceparent:
        fields[b"tp"] = metadata.traceparent.encode()
    if metadata.lineage is None:
        return fields
    fields[b"ln"] = _encode(metadata.lineage)
    if action.children.total:
        fields[b"b"] = b"1"
    if action.signal is not None:
        fields |= {b"g": _encode(action.signal), b"gv": _encode(action.signal.value)}
    return fields


def read(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Read the fields of `Metadata` that say where a record comes from, as far as they are there.

    Raises:
        msgspec.DecodeError: a field does not hold what it should.
    """
    found: dict[str, Any] = {}
    if b"by" in fields:
        found["submitted"] = _who.decode(fields[b"by"])
    if b"pb" in fields:
        found["prioritized"] = _ruling.decode(fields[b"pb"])
        found["priorities"] = _rulings.decode(fields[b"pa"]) if b"pa" in fields else (found["prioritized"],)
    if b"ln" in fields:
        found["lineage"] = _lineage.decode(fields[b"ln"])
    if b"tp" in fields:
        found["traceparent"] = fields[b"tp"].decode(errors="replace")  # whoever uses it reads it with care
    return found

"""Read JSON that others wrote: whatever is wrong with it becomes one kind of error."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")


def read_json(data: bytes, kind: type[T]) -> T:
    """Decode a document as `kind`.

    Raises:
        msgspec.DecodeError: it is no JSON, no UTF-8, nested too deeply, or no `kind`.
    """
    try:
        found: T = _decoder(cast("Any", kind)).decode(data)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec passes these on as they are
        raise msgspec.DecodeError(str(error)) from error
    return found


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:  # noqa: ANN401  # a type, of which typing has no type
    """Make a decoder, once for each kind: making one takes longer than reading most documents."""
    return msgspec.json.Decoder(kind, float_hook=_number)


def _number(text: str) -> float:
    """Read a number where any value may be: msgspec takes 10 us for each one near the limits of a float, Python 0.1."""
    value = float(text)
    if math.isinf(value):
        raise ValueError("Number out of range")
    return value

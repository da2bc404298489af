"""Reading JSON that others wrote: whatever is wrong with it is one kind of error."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def read_json(data: bytes, kind: type[T]) -> T:
    """Decode a document as `kind`.

    Raises:
        msgspec.DecodeError: it is no JSON, no UTF-8, nested too deeply, or no `kind`.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec passes these on as they are
        raise msgspec.DecodeError(str(error)) from error

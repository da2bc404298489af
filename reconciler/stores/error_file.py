"""The document in `error.pb`: why an attempt failed, as JSON in the shape of Flyte's (R66)."""

from __future__ import annotations

import msgspec

from reconciler.api.reading import read_json
from reconciler.api.status_conditions import CODE_LIMIT
from reconciler.api.transition import ErrorKind, ExecutionError

RECOVERABLE = "RECOVERABLE"
NON_RECOVERABLE = "NON_RECOVERABLE"
_FRAME = 2048
"""Room for all of a document but its message: a code of `CODE_LIMIT` characters, names and braces."""
_BYTES_PER_CHARACTER = 6
"""A character takes at most this many bytes in JSON (`\\u0000`)."""


class _Error(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""
    kind: str = NON_RECOVERABLE
    origin: str = ""
    """USER or SYSTEM (R66)."""
    traceback: str = ""


class _Document(msgspec.Struct, frozen=True):
    error: _Error | None = None


def encode(error: ExecutionError, *, recoverable: bool, limit: int = 0) -> bytes:
    """Write the document; above `limit` bytes (0 = any) it goes without traceback, then with a shorter message."""
    kind = RECOVERABLE if recoverable else NON_RECOVERABLE
    code, message = _clean(error.code)[:CODE_LIMIT], _clean(error.message)
    full = _Error(code, message, kind, error.kind.value, _clean(error.traceback))
    bare = msgspec.structs.replace(full, traceback="")
    room = max(limit - _FRAME, 0) // _BYTES_PER_CHARACTER
    short = msgspec.structs.replace(bare, message=f"{message[:room]}…")
    for version in (full, bare):
        data = msgspec.json.encode(_Document(version))
        if not limit or len(data) <= limit:
            return data
    return msgspec.json.encode(_Document(short))


def decode(data: bytes) -> tuple[ExecutionError, bool] | None:
    """Read the error and whether another attempt can help; None when no error is in it."""
    try:
        found = read_json(data, _Document).error
    except msgspec.DecodeError:
        return None
    if found is None:
        return None
    kind = ErrorKind(found.origin) if found.origin in {*ErrorKind} else ErrorKind.UNKNOWN
    return ExecutionError(found.code, found.message, kind, found.traceback), found.kind == RECOVERABLE


def _clean(text: str) -> str:
    """Remove halves of surrogate pairs, which JSON cannot hold: file names and user code bring them."""
    return text.encode(errors="replace").decode()

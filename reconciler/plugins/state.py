"""The state a plugin keeps between rounds: one small JSON document in the record (R62)."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from reconciler.api.errors import CorruptedPluginState
from reconciler.api.reading import read_json

T = TypeVar("T")
MAX_STATE = 16 * 1024
"""Largest state, in bytes: larger things belong into S3 (R15)."""


class PluginStateManager:
    """Reads the state of the previous round; takes the state for the next one."""

    __slots__ = ("_data", "_new", "_version")

    def __init__(self, data: bytes = b"", version: int = 0) -> None:
        self._data = data
        self._version = version
        self._new: tuple[bytes, int] | None = None

    @property
    def version(self) -> int:
        """Schema version of the previous round's state."""
        return self._version

    def get(self, kind: type[T]) -> T | None:
        """Return the previous round's state, never what was put in this one; None when there is none.

        Raises:
            CorruptedPluginState: the stored state does not decode as `kind`.
        """
        if not self._data:
            return None
        try:
            return read_json(self._data, kind)
        except msgspec.DecodeError as error:
            raise CorruptedPluginState(f"failed to decode plugin state: {error}") from error

    def put(self, version: int, value: object) -> None:
        """Keep `value` for the next round; the last call wins.

        Raises:
            CorruptedPluginState: the value is larger than 16 KiB or cannot be written as JSON.
        """
        try:
            data = msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise CorruptedPluginState(
                f"plugin state cannot be written as JSON: {error}. Put what msgspec can encode."
            ) from error
        if len(data) > MAX_STATE:
            raise CorruptedPluginState(
                f"plugin state has {len(data)} bytes, at most {MAX_STATE}; put large data in S3"
            )
        self._new = (data, version)

    def reset(self) -> None:
        """Forget the state: empty, version 0; counts as written."""
        self._new = (b"", 0)

    def new_state(self) -> tuple[bytes, int, bool]:
        """Return state and version for the next round, and whether this round wrote one."""
        return (*self._new, True) if self._new is not None else (b"", 0, False)

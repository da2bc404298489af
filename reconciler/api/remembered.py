"""A cache of computed values, bounded by bytes, so that many large entries cannot fill the memory."""

from __future__ import annotations

from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Keeps values by key, up to a total size in bytes; the oldest value makes room. Threads may share it.

    Whatever is handed out is shared: it is nobody's to change.

    Args:
        limit: sum of the weights of all entries, in bytes. A heavier one is kept alone, as it is needed right now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: dict[K, tuple[V, int]] = {}
        self._weight = 0
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """Return the value of a key; None when it is not remembered."""
        entry = self._entries.get(
            key
        )  # one step of the interpreter: needs no lock, which costs more than this
        return None if entry is None else entry[0]

    def keep(self, key: K, value: V, weight: int) -> V:
        """Remember a value of this size in bytes, and return it."""
        with self._lock:
            old = self._entries.pop(key, None)
            self._weight += weight - (old[1] if old else 0)
            self._entries[key] = (value, weight)
            while self._weight > self.limit and len(self._entries) > 1:
                first = next(iter(self._entries))
                self._weight -= self._entries.pop(first)[1]
        return value

    @property
    def weight(self) -> int:
        """Sum of the weights of all entries, in bytes."""
        return self._weight

    def __len__(self) -> int:
        return len(self._entries)

"""Keep a place near the front for actions that became due last while many are due."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.stores.timing import CROWD, FEW


@dataclass
class Next:
    """The notes of one shard. One may be lost or stale: the due index alone says what is due.

    Attributes:
        crowd: from this many due actions on, notes are taken.
        since: when each of those that are noted became due.
    """

    crowd: int = CROWD
    since: dict[str, int] = field(default_factory=dict)
    _noted: int = 0
    _crowded: bool | None = None

    def note(self, path: str, due: Mapping[str, int], now: int) -> None:
        """Note what becomes due now, if many were due when this verb began; only a few per verb."""
        if self._noted >= FEW:
            return
        if self._crowded is None:
            self._crowded = sum(at <= now for at in due.values()) >= self.crowd
        if self._crowded:
            self._noted += 1
            self.since.setdefault(path, now)

    def verb_ends(self) -> None:
        """Start counting again."""
        self._noted, self._crowded = 0, None

    def take(self, room: int) -> list[str]:
        """Take the oldest notes."""
        paths = [path for _, path in heapq.nsmallest(room, ((at, path) for path, at in self.since.items()))]
        for path in paths:
            del self.since[path]
        return paths

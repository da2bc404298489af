"""The holds, in memory."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.api.action import RunId
from reconciler.stores.holds import Hold, RunLife
from reconciler.stores.memory.state import MemoryCore


class Holding(MemoryCore):
    """The verbs for holds on runs that others are made of."""

    def hold(self, source: RunLife, holder: RunId, life: int, *, archived: bool = False) -> int:
        with self._lock:
            shard, until = self._shards[self.shard_of(source.run)], self.now() + life
            there = shard.incarnations.get(source.run) == source.incarnation or source in shard.holds
            if not there and not archived:
                return 0
            shard.holds.setdefault(source, {})[holder] = until
            self.wrote("hold", (source, holder))
            return until

    def holders(self, source: RunLife) -> tuple[RunId, ...]:
        with self._lock:
            return tuple(sorted(self._shards[self.shard_of(source.run)].holds.get(source, {})))

    def holds(self, shard: int) -> list[Hold]:
        with self._lock:
            kept = self._shards[shard].holds
            return sorted(Hold(of, by, until) for of, each in kept.items() for by, until in each.items())

    def let_go(self, shard: int, holds: Iterable[Hold]) -> None:
        dropped = tuple(holds)
        with self._lock:
            kept = self._shards[shard].holds
            for hold in dropped:
                each = kept.get(hold.source, {})
                if each.get(hold.holder) == hold.until:
                    del each[hold.holder]
                if not each:
                    kept.pop(hold.source, None)
            self.wrote("let_go", dropped)

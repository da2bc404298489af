"""The holds on Redis: runs that are kept because others were made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reconciler.api.action import RunId
from reconciler.stores.holds import Hold, RunLife
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore
from reconciler.stores.redis.scripts import pack, script


class Holding(RedisCore):
    """The verbs for holds on runs that others are made of."""

    @explain
    def hold(self, source: RunLife, holder: RunId, life: int, *, archived: bool = False) -> int:
        shard = self.shard_of(source.run)
        key, base = self.keys.due(shard), self.keys.base(shard)
        args = (str(source.run), source.incarnation, str(holder), life, int(archived))
        return int(script("hold")(self.client, key, base, *args))

    @explain
    def holders(self, source: RunLife) -> tuple[RunId, ...]:
        found: Any = self.client.hgetall(self.keys.holds(source))
        return tuple(sorted(_run(name) for name in found))

    @explain
    def holds(self, shard: int) -> list[Hold]:
        names: Any = self.client.smembers(self.keys.held(shard))
        found = []
        for source in sorted(RunLife.parse(name.decode()) for name in names):
            each: Any = self.client.hgetall(self.keys.holds(source))
            found += [Hold(source, _run(name), int(until)) for name, until in each.items()]
        return sorted(found)

    @explain
    def let_go(self, shard: int, holds: Iterable[Hold]) -> None:
        packed = [(str(hold.source), str(hold.holder), str(hold.until)) for hold in holds]
        if packed:
            script("let_go")(self.client, self.keys.due(shard), self.keys.base(shard), pack(packed))


def _run(name: bytes) -> RunId:
    return RunId(*name.decode().split("/"))

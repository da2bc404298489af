"""Redis store: sweeps, lateness and waiting launches, for `reconciler doctor`. Bounded reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from reconciler.api.action import ActionId
from reconciler.api.event import AuditEntry
from reconciler.stores.known import LACKING
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore

_SWEPT_FOR = 24 * 3600 * 1000
"""How long it is remembered that a sweep ran, ms."""


class Late(NamedTuple):
    """The oldest due thing of a shard: how late it is, in ms; 0 or less when nothing is late."""

    shard: int
    by: int


class Memory(NamedTuple):
    """The memory of the server, used and allowed, in bytes; a limit of 0 is none."""

    used: int
    limit: int


class CleanUp(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A clean-up that is going on, from the status of its action.

    Attributes:
        cleanup_tries: how often its plugin failed at it.
        stopping_since: since when its plugin says that it is still stopping, ms since the epoch; 0 = it does not.
    """

    cleanup_tries: int = 0
    stopping_since: int = 0


_decode_audit = msgspec.json.Decoder(AuditEntry).decode
_decode_clean_up = msgspec.json.Decoder(CleanUp).decode


class Surveying(RedisCore):
    """The verbs for what `reconciler top` and the health checks look at."""

    @explain
    def say_swept(self, sweep: str) -> None:
        """Note that a sweep was made just now, at beat's tick or without."""
        self.client.set(self.keys.swept(sweep), "1", px=_SWEPT_FOR)

    @explain
    def swept_ago(self, sweep: str) -> int | None:
        """Return how long ago the sweep was made, in ms by the server's clock; None: not within a day, or never."""
        left: Any = self.client.pttl(self.keys.swept(sweep))
        return _SWEPT_FOR - int(left) if int(left) >= 0 else None

    @explain
    def latest(self) -> Late:
        """Find the shard in which something waits longest for a step."""
        pipe = self.client.pipeline(transaction=False)
        for shard in range(self.shards):
            pipe.zrange(self.keys.due(shard), 0, 0, withscores=True)
        pipe.time()
        *oldest, (seconds, micros) = pipe.execute()
        now = int(seconds) * 1000 + int(micros) // 1000
        late = [Late(shard, now - int(found[0][1])) for shard, found in enumerate(oldest) if found]
        return max(late, key=lambda one: one.by, default=Late(0, 0))

    @explain
    def due_soon(self, limit: int) -> list[ActionId]:
        """List what is due next in each shard, at most this many of each: what waits for something is looked at often."""
        pipe = self.client.pipeline(transaction=False)
        for shard in range(self.shards):
            pipe.zrange(self.keys.due(shard), 0, limit - 1)
        return [ActionId(*path.decode().split("/")) for found in pipe.execute() for path in found]

    @explain
    def cleaning_up(self, limit: int) -> dict[ActionId, CleanUp]:
        """Find clean-ups among what is due next in each shard, at most this many actions of each."""
        actions = self.due_soon(limit)
        pipe = self.client.pipeline(transaction=False)
        for action in actions:
            pipe.hget(self.keys.action(action), "t")
        told = zip(actions, pipe.execute() if actions else (), strict=True)
        found = {action: _decode_clean_up(status) for action, status in told if status}
        return {action: one for action, one in found.items() if one.cleanup_tries or one.stopping_since}

    @explain
    def warnings(self, limit: int) -> list[AuditEntry]:
        """Read the newest warnings attached to records, at most this many of each shard, the newest first."""
        pipe = self.client.pipeline(transaction=False)
        for shard in range(self.shards):
            pipe.xrevrange(self.keys.audit(shard), count=limit)
        found = [_decode_audit(fields[b"a"]) for entries in pipe.execute() for _, fields in entries]
        return sorted(found, key=lambda entry: -entry.at)

    @explain
    def functions_of(self, queues: Sequence[str]) -> list[dict[str, int]]:
        """Return for each queue which functions its living workers know, and how many workers know each."""
        pipe = self.client.pipeline(transaction=False)
        for queue in queues:
            pipe.hgetall(self.keys.functions(queue))
        pipe.time()
        *told, (seconds, _) = pipe.execute()
        return [_names(workers, int(seconds) * 1000) for workers in told]

    @explain
    def launches_waiting(self) -> dict[str, int]:
        """Count how many launches stand in the lines of each queue."""
        pipe = self.client.pipeline(transaction=False)
        for shard in range(self.shards):
            pipe.smembers(self.keys.lines(shard))
        known = [(shard, line.decode()) for shard, lines in enumerate(pipe.execute()) for line in lines]
        for shard, line in known:
            pipe.zcard(self.keys.line(shard, line))
        waiting: Counter[str] = Counter()
        for (_, line), count in zip(known, pipe.execute() if known else (), strict=True):
            waiting[line.partition("/")[0]] += int(count)
        return dict(waiting)

    @explain
    def paused(self, queues: Sequence[str]) -> list[bool]:
        """Tell for each of these queues whether it is paused."""
        pipe = self.client.pipeline(transaction=False)
        for queue in queues:
            pipe.exists(self.keys.paused(queue))
        return [bool(found) for found in (pipe.execute() if queues else ())]

    @explain
    def memory(self) -> Memory:
        """Return how much memory the server uses, and how much it may use."""
        info: Any = self.client.info("memory")
        return Memory(int(info.get("used_memory", 0)), int(info.get("maxmemory", 0)))


def _names(workers: Mapping[bytes, bytes], now: int) -> dict[str, int]:
    """Count who can run each function. A value is the end of its worker's life, then `<name> <digest>` lines."""
    known: Counter[str] = Counter()
    for worker, told in workers.items():
        life, *lines = told.decode().split("\n")
        if worker and int(life) > now:  # the field without a name tells since when there was always a worker
            known.update(line.partition(" ")[0] for line in lines if line and not line.startswith(LACKING))
    return dict(sorted(known.items()))

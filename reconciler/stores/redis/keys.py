"""Every Redis key: builder, type, who writes it, and what removes it.

`<p>` is the key prefix of the installation, `{nn}` the hash tag of a shard: all that one script changes together carries one
tag, so state may live on Redis Cluster.

| key | type | written by | ends |
|---|---|---|---|
| `<p>:meta` | hash | first start | kept: number of shards, layout version |
| `<p>:{nn}:a:<project/domain/run/action>` | hash | see stores/records.py | collect, after retention |
| `<p>:{nn}:due` | zset, path → due time | create, claim, commit, wake, heartbeat | entry: commit of a terminal action |
| `<p>:{nn}:done` | zset, path → end time | commit of a terminal action | entry: collect |
| `<p>:{nn}:tree:<run>` | zset, `parent/action`, scores 0 | create | with the run's last action |
| `<p>:{nn}:run:<run>` | hash, counters by phase and by parent | create, commit | with the run's last action |
| `<p>:{nn}:shared:<run>` | hash, digest → shared spec | create | with the run's last action |
| `<p>:{nn}:runs` | zset, run → creation time | create | entry: with the run's last action |
| `<p>:{nn}:events` | stream, the results channel | create, commit | entry: trim_events |
| `<p>:{nn}:audit` | stream, capped at 1000 | record_audit | capped |
| `<p>:{nn}:queues` | hash, queue → newest started launch | start_attempt | one field per queue |
| `<p>:{nn}:pending` | string, PX | create, wake … | claim by a new step, or its TTL |
| `<p>:{nn}:armed` | string, PX | claim, commit | its TTL |
| `<p>:{nn}:n:<run>` | pub/sub channel | commit | - |
| `<p>:worker:<name>` | string, EX | workers | its TTL |

The scripts build these same names from the shard's base; this file is the only other place that knows them.
"""

from __future__ import annotations

from binascii import crc32

import msgspec

from reconciler.api.action import ActionId, RunId


class Keys(msgspec.Struct, frozen=True):
    """Builds the keys of one installation.

    Attributes:
        prefix: first part of every key.
        shards: number of shards.
    """

    prefix: str
    shards: int

    def shard_of(self, run: RunId) -> int:
        """The shard of a run: stable for a fixed number of shards."""
        return crc32(str(run).encode()) % self.shards

    def base(self, shard: int) -> str:
        """What all keys of a shard start with; carries its hash tag."""
        return f"{self.prefix}:{{{shard:02d}}}:"

    def due(self, shard: int) -> str:
        """Due index of a shard."""
        return self.base(shard) + "due"

    def action(self, action: ActionId) -> str:
        """Record of an action."""
        return f"{self.base(self.shard_of(action.run_id))}a:{action}"

    def tree(self, run: RunId) -> str:
        """Actions of a run by parent."""
        return f"{self.base(self.shard_of(run))}tree:{run}"

    def run(self, run: RunId) -> str:
        """Counters of a run."""
        return f"{self.base(self.shard_of(run))}run:{run}"

    def shared(self, run: RunId) -> str:
        """Shared specs of a run."""
        return f"{self.base(self.shard_of(run))}shared:{run}"

    def runs(self, shard: int) -> str:
        """Runs of a shard by creation time."""
        return self.base(shard) + "runs"

    def events(self, shard: int) -> str:
        """Results channel of a shard."""
        return self.base(shard) + "events"

    def audit(self, shard: int) -> str:
        """Audit entries of a shard."""
        return self.base(shard) + "audit"

    def channel(self, run: RunId) -> str:
        """Pub/sub channel that says "something of this run was committed"."""
        return f"{self.base(self.shard_of(run))}n:{run}"

    @property
    def meta(self) -> str:
        """What must be the same for all processes of an installation."""
        return f"{self.prefix}:meta"

    def worker(self, name: str) -> str:
        """Liveness of a worker process."""
        return f"{self.prefix}:worker:{name}"

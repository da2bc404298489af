"""Every Redis key: builder, type, who writes it, and what removes it.

`<p>` is the key prefix of the installation, `{nn}` the hash tag of a shard: all that one script changes together carries one
tag, so state may live on Redis Cluster. A cache key has a tag of its own, `{c:<digest>}`: it belongs to no run.
What workers publish of their functions, `{f}`, has one too.
So has a resource with a quota, `{q:<name>}`, and a queue, `{w:<queue>}`: what its workers can run, and which lines have
launches.

| key | type | written by | ends |
|---|---|---|---|
| `<p>:meta` | hash | first start | kept: number of shards, layout version, installation |
| `<p>:confirm` | string, PX | every script in `safe` with replicas | its TTL |
| `<p>:{nn}:a:<project/domain/run/action>` | hash | see stores/records.py | collect, after retention |
| `<p>:{nn}:ended:<project/domain/run/action>` | list, names of ended children of a group | commit, create | with the group |
| `<p>:{nn}:steps:<project/domain/run/action>` | hash, name → value a function keeps | keep_step | with the action |
| `<p>:{nn}:due` | zset, path → due time | create, claim, commit, wake, heartbeat | entry: commit of a terminal action |
| `<p>:{nn}:next` | zset, path → since when it is due, of the last ones while a crowd is | create, wake | entry: claim |
| `<p>:{nn}:done` | zset, path → end time | commit of a terminal action | entry: collect |
| `<p>:{nn}:asking` | zset, path → since when a person is asked | commit | entry: commit that leaves the phase paused |
| `<p>:{nn}:garbage` | hash, path and incarnation → folders in S3 | note_garbage | entry: drop_garbage, with its objects |
| `<p>:{nn}:held` | set, runs that are held, with their incarnation | hold | member: let_go |
| `<p>:{nn}:holds:<run>@<incarnation>` | hash, run that holds it → until when its records are kept | hold | field: let_go |
| `<p>:{nn}:tree:<run>` | zset, `parent/action`, scores 0 | create | with the run's last action |
| `<p>:{nn}:run:<run>` | hash: counters, codes, incarnation, seal, parts | create, commit, seal, … | with its last action |
| `<p>:{nn}:parts` | hash, digest → shared spec | create | field: with the last run of the shard that uses it |
| `<p>:{nn}:uses` | hash, digest → how many runs use that part | create, collect | field: as its part |
| `<p>:{nn}:shared:<run>` | hash, digest and incarnation → shared spec | an earlier release | with the run's last action |
| `<p>:{nn}:runs` | zset, run → creation time | create | entry: with the run's last action |
| `<p>:{nn}:events` | stream, the results channel | create, commit; its groups: readers | entry: trim_events |
| `<p>:{nn}:spilled` | string, position in the channel | set_spilled | kept |
| `<p>:{nn}:audit` | stream, capped at 1000 | record_audit | capped |
| `<p>:{nn}:lines` | set, lines with launches | commit, give_back | member: draw, commit, look |
| `<p>:{nn}:line:<line>` | zset, path → place of its launch | commit, give_back | entry: draw, start_attempt, commit |
| `<p>:{nn}:pending` | string, PX | create, wake … | claim by a new step, or its TTL |
| `<p>:{nn}:armed` | string, PX | claim, commit | its TTL |
| `<p>:{nn}:hears` | string, PX: channel of who stands by for the shard | hear | hear, or its TTL |
| `<p>:{nn}:n:<run>` | pub/sub channel | commit | - |
| `<p>:{c:<digest>}:entry` | hash | catalog_put | its TTL, `RECONCILER_CACHE_RETENTION`; 0 keeps it |
| `<p>:{c:<digest>}:res` | hash, PX: holder, newest token | catalog_reserve, catalog_release | a day after the lease |
| `<p>:{c:<digest>}:wait` | zset, PX, owner → since when | catalog_reserve | catalog_put, catalog_release, or its TTL |
| `<p>:{q:<name>}:held` | zset, PX, unit of a quota → end of its lease | allocate | release, allocate, or its TTL |
| `<p>:{q:<name>}:waiting` | zset, PX, token in line → since when | allocate | as held |
| `<p>:{q:<name>}:capped` | zset, PX, token that waits for a cap → since when | allocate | as held |
| `<p>:{q:<name>}:asked` | zset, PX, waiting token → when it has gone | allocate | as held |
| `<p>:{q:<name>}:owners` | hash, PX, token → units and owner | allocate | as held |
| `<p>:{w:<name>}:functions` | hash, PX, worker → its functions | tell_functions | field: tell_functions; its TTL |
| `<p>:{w:<name>}:heads` | zset, shard and line → place of its first launch, of a queue | announce, pick | entry: pick |
| `<p>:{w:<name>}:of:<level>/<key>` | zset, the same for one level and fair key | announce, pick | entry: pick |
| `<p>:{w:<name>}:fair:<level>` | zset, fair key → what it was served | announce, pick | entry: pick |
| `<p>:{w:<name>}:served` | hash, level → how far its keys have come | pick | pick, when no line has launches |
| `<p>:{w:<name>}:seen` | hash, shard and line → when it had launches | announce | field: pick |
| `<p>:{w:<name>}:picks` | string, number of choices | pick | pick, as served |
| `<p>:{w:<name>}:ticket` | string, PX: a ticket is on its way | announce | pick, stand_by, or its TTL |
| `<p>:{w:<name>}:idle` | zset, PX, channel of who stands by → until when | stand_by | entry: announce, stand_by; its TTL |
| `<p>:{w:<name>}:paused` | string: no ticket, no choice | set_queue | set_queue |
| `<p>:{w:<name>}:limit` | string: most launches that may wait | set_queue | set_queue |
| `<p>:{w:<name>}:ruled` | stream, capped at 100: who paused, moved or limited the queue | set_queue | capped |
| `<p>:queues` | set, queues that are paused or have a limit | set_queue | member: set_queue |
| `<p>:{f}:published` | hash, PX, release → end of its life, since when it runs | publish | field: publish; its TTL |
| `<p>:{f}:published:<release>` | hash, PX, function → its document | publish | publish, or its TTL |
| `<p>:ear:<random>` | pub/sub channel of one process | whoever makes work | - |
| `<p>:worker:<name>` | string, EX | workers | its TTL |
| `<p>:swept:<sweep>` | string, PX | steps workers, at beat's tick, or who stands in for it | its TTL |
| `<p>:swept:<sweep>:turn` | string, PX | the steps worker that makes a sweep alone | its TTL |

The scripts build these same names from the shard's base; this file is the only other place that knows them.
"""

from __future__ import annotations

from binascii import crc32

import msgspec

from reconciler.api.action import ActionId, RunId
from reconciler.stores.holds import RunLife


class Keys(msgspec.Struct, frozen=True):
    """Builds the keys of one installation.

    Attributes:
        prefix: first part of every key.
        shards: number of shards.
    """

    prefix: str
    shards: int

    def shard_of(self, run: RunId) -> int:
        """Compute the shard of a run: stable for a fixed number of shards."""
        return crc32(str(run).encode()) % self.shards

    def base(self, shard: int) -> str:
        """Return the common start of all keys of a shard; it carries the hash tag."""
        return f"{self.prefix}:{{{shard:02d}}}:"

    def due(self, shard: int) -> str:
        """Name the due index of a shard."""
        return self.base(shard) + "due"

    def asking(self, shard: int) -> str:
        """Name the actions of a shard that wait for a person."""
        return self.base(shard) + "asking"

    def garbage(self, shard: int) -> str:
        """Name the notes about objects in a shard that are removed after their records."""
        return self.base(shard) + "garbage"

    def held(self, shard: int) -> str:
        """Name the set of a shard's runs that are held."""
        return self.base(shard) + "held"

    def holds(self, source: RunLife) -> str:
        """Name the hash of the runs that hold a run."""
        return f"{self.base(self.shard_of(source.run))}holds:{source}"

    def spilled(self, shard: int) -> str:
        """Name the position of the results channel up to which old events lie in the archive."""
        return self.base(shard) + "spilled"

    def action(self, action: ActionId) -> str:
        """Name the record of an action."""
        return f"{self.base(self.shard_of(action.run_id))}a:{action}"

    def ended(self, group: ActionId) -> str:
        """Name the ended children of a group."""
        return f"{self.base(self.shard_of(group.run_id))}ended:{group}"

    def steps(self, action: ActionId) -> str:
        """Name the values the function of an action keeps."""
        return f"{self.base(self.shard_of(action.run_id))}steps:{action}"

    def tree(self, run: RunId) -> str:
        """Name the actions of a run by parent."""
        return f"{self.base(self.shard_of(run))}tree:{run}"

    def run(self, run: RunId) -> str:
        """Name the counters of a run."""
        return f"{self.base(self.shard_of(run))}run:{run}"

    def shared(self, run: RunId) -> str:
        """Name the shared specs of a run that an earlier release began."""
        return f"{self.base(self.shard_of(run))}shared:{run}"

    def parts(self, shard: int) -> str:
        """Name the shared specs of a shard's runs."""
        return self.base(shard) + "parts"

    def runs(self, shard: int) -> str:
        """Name the runs of a shard by creation time."""
        return self.base(shard) + "runs"

    def events(self, shard: int) -> str:
        """Name the results channel of a shard."""
        return self.base(shard) + "events"

    def audit(self, shard: int) -> str:
        """Name the audit entries of a shard."""
        return self.base(shard) + "audit"

    def channel(self, run: RunId) -> str:
        """Name the pub/sub channel that says "something of this run was committed"."""
        return f"{self.base(self.shard_of(run))}n:{run}"

    def cache(self, digest: str) -> str:
        """Return the common start of the keys of one cache key; it carries their hash tag."""
        return f"{self.prefix}:{{c:{digest}}}:"

    def cache_entry(self, digest: str) -> str:
        """Name the catalog entry of a cache key."""
        return self.cache(digest) + "entry"

    def quota(self, resource: str) -> str:
        """Return the common start of the keys of a resource; it carries their hash tag."""
        return f"{self.prefix}:{{q:{resource}}}:"

    def quota_held(self, resource: str) -> str:
        """Name the leased units of a resource."""
        return self.quota(resource) + "held"

    def queue(self, queue: str) -> str:
        """Return the common start of the keys of a queue; it carries their hash tag."""
        return f"{self.prefix}:{{w:{queue}}}:"

    def functions(self, queue: str) -> str:
        """Name what the workers of a queue can run."""
        return self.queue(queue) + "functions"

    def heads(self, queue: str) -> str:
        """Name the lines of a queue that have launches."""
        return self.queue(queue) + "heads"

    def paused(self, queue: str) -> str:
        """Name the mark of a queue that is paused."""
        return f"{self.queue(queue)}paused"

    def ruled(self, queue: str) -> str:
        """Name the notes of who paused, moved or limited a queue."""
        return self.queue(queue) + "ruled"

    def lines(self, shard: int) -> str:
        """Name the lines of a shard that have launches."""
        return self.base(shard) + "lines"

    def line(self, shard: int, line: str) -> str:
        """Name the launches that stand in a line."""
        return f"{self.base(shard)}line:{line}"

    def swept(self, sweep: str) -> str:
        """Name the mark that a sweep was made."""
        return f"{self.prefix}:swept:{sweep}"

    def turn(self, sweep: str) -> str:
        """Name the mark that a worker makes a sweep without beat."""
        return f"{self.swept(sweep)}:turn"

    @property
    def published(self) -> str:
        """Releases whose functions are published; what their documents lie behind."""
        return f"{self.prefix}:{{f}}:published"

    @property
    def queues(self) -> str:
        """Name the set of queues that are paused or have a limit."""
        return f"{self.prefix}:queues"

    @property
    def meta(self) -> str:
        """Name what must be the same for all processes of an installation."""
        return f"{self.prefix}:meta"

    @property
    def confirm(self) -> str:
        """Written with each script whose replication is waited for."""
        return f"{self.prefix}:confirm"

    def ear(self, name: str) -> str:
        """Name the channel on which a process that stands by is told of work."""
        return f"{self.prefix}:ear:{name}"

    def worker(self, name: str) -> str:
        """Name the liveness facts of a worker process."""
        return f"{self.prefix}:worker:{name}"

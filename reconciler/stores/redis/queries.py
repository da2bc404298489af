"""Redis store: reading records, runs, events and the results channel; keeping house."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec
from redis.client import Pipeline

from reconciler.api.action import ActionId, Children, RunId, TaskAction
from reconciler.api.event import ActionEvent, AuditEntry
from reconciler.api.phase import ActionPhase
from reconciler.core.ordering import natural_page
from reconciler.stores import records
from reconciler.stores.base import ChannelEntry, Page
from reconciler.stores.counts import Asking, RunCounts, RunSummary, newest_runs
from reconciler.stores.ended import End
from reconciler.stores.events import decode_event
from reconciler.stores.garbage import Collected
from reconciler.stores.holds import RunLife
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore, pairs
from reconciler.stores.redis.notify import Notifier
from reconciler.stores.redis.scripts import script

_AUDIT_LIMIT = 1000
_AT_ONCE = 500
"""Records read in one round trip."""
_decode_audit = msgspec.json.Decoder(AuditEntry).decode


class Queries(RedisCore):
    """The verbs that read records, runs and events, and those of the collector and of audit entries."""

    _notifier: Notifier | None = None

    def get(self, action: ActionId) -> TaskAction | None:
        return self.get_many([action])[0]

    @explain
    def get_many(self, actions: Sequence[ActionId]) -> list[TaskAction | None]:
        found: list[TaskAction | None] = []
        for read in self._in_parts(actions, lambda pipe, key: pipe.hgetall(key)):
            self.fetch_shared((action.run_id, fields[b"h"]) for action, fields in read if fields)
            children = self._children([action for action, fields in read if b"b" in fields])
            found += [
                self.decode(action, fields, children.get(action)) if fields else None
                for action, fields in read
            ]
        return found

    def _in_parts(
        self, actions: Sequence[ActionId], ask: Callable[[Pipeline, str], object]
    ) -> Iterator[list[tuple[ActionId, Any]]]:
        """Ask something of each record, of some hundred in a round trip; yield actions with answers."""
        for start in range(0, len(actions), _AT_ONCE):
            part = actions[start : start + _AT_ONCE]
            pipe = self.client.pipeline(transaction=False)
            for action in part:
                ask(pipe, self.keys.action(action))
            yield list(zip(part, pipe.execute(), strict=True))

    def _children(self, parents: Sequence[ActionId]) -> dict[ActionId, Children]:
        pipe = self.client.pipeline(transaction=False)
        for parent in parents:
            name = parent.action
            pipe.hmget(self.keys.run(parent.run_id), [f"t:{name}", f"o:{name}", f"f:{name}"])
        counts = pipe.execute() if parents else []
        return {
            parent: Children(*(int(n or 0) for n in three))
            for parent, three in zip(parents, counts, strict=True)
        }

    @explain
    def list_actions(
        self, run: RunId, *, parent: str | None = None, after: str = "", limit: int = 500
    ) -> Page:
        low, high = ("-", "+") if parent is None else (f"[{parent}/", f"({parent}0")
        members: Any = self.client.zrange(self.keys.tree(run), low, high, bylex=True)
        names = natural_page((member.decode() for member in members), after, limit)
        actions = self.get_many([run.action(name.rpartition("/")[2]) for name in names])
        more = names[-1] if len(names) == limit else ""
        return Page([action for action in actions if action is not None], more)

    @explain
    def list_runs(self, limit: int = 50, before: int | RunSummary = 0) -> list[RunSummary]:
        at = before.created_at if isinstance(before, RunSummary) else before
        pipe = self.client.pipeline(transaction=False)
        for shard in range(self.shards):
            high = f"({at}" if at else "+inf"
            pipe.zrevrangebyscore(self.keys.runs(shard), high, "-inf", 0, limit, withscores=True)
            if isinstance(before, RunSummary):  # others of its millisecond
                pipe.zrangebyscore(self.keys.runs(shard), at, at, withscores=True)
        merged = [(int(at), RunId(*run.decode().split("/"))) for part in pipe.execute() for run, at in part]
        newest = newest_runs(merged, limit, before)
        pipe = self.client.pipeline(transaction=False)
        for _, run in newest:
            pipe.hgetall(self.keys.run(run))
        return [
            RunSummary(run, at, _counts(raw), _codes(raw))
            for (at, run), raw in zip(newest, pipe.execute(), strict=True)
        ]

    @explain
    def list_asking(self, limit: int = 1000) -> Asking:
        pipe = self.client.pipeline(transaction=False)
        for shard in range(self.shards):
            pipe.zrevrangebyscore(self.keys.asking(shard), "+inf", "-inf", 0, limit, withscores=True)
            pipe.zcard(self.keys.asking(shard))
        answers = pipe.execute()
        found = ((int(at), path.decode()) for part in answers[::2] for path, at in part)
        return Asking.newest(found, limit, sum(answers[1::2]))

    @explain
    def counts(self, run: RunId) -> RunCounts | None:
        numbers = [str(int(phase)) for phase in ActionPhase]
        raw: Any = self.client.hmget(self.keys.run(run), numbers)
        if not any(raw):
            return None
        return _counts({n.encode(): v for n, v in zip(numbers, raw, strict=True) if v})

    @explain
    def ends(self, actions: Sequence[ActionId]) -> list[End | None]:
        parts = self._in_parts(actions, lambda pipe, key: pipe.hmget(key, records.END_FIELDS))
        return [records.decode_end(action, values) for part in parts for action, values in part]

    @explain
    def ended_children(self, group: ActionId, after: int = 0, limit: int = 500) -> list[str]:
        names: Any = self.client.lrange(self.keys.ended(group), after, after + limit - 1)
        return [name.decode() for name in names]

    @explain
    def events(self, action: ActionId, after: int = 0) -> list[ActionEvent]:
        field: Any = self.client.hget(self.keys.action(action), "e")
        total, ids = records.event_count(field), _event_ids(field)
        wanted = ids[max(0, len(ids) - (total - after)) :] if total > after else []
        if not wanted:
            return []
        stream = self.keys.events(self.shard_of(action.run_id))
        pipe = self.client.pipeline(transaction=False)
        for cursor in wanted:
            pipe.xrange(stream, cursor, cursor)
        entries = [entry for part in pipe.execute() for entry in part]
        return [decode_event(fields[b"e"]) for _, fields in entries]

    @explain
    def channel(self, shard: int, after: str = "0-0", limit: int = 1000) -> list[ChannelEntry]:
        entries: Any = self.client.xrange(self.keys.events(shard), f"({after}", "+", count=limit)
        return [ChannelEntry(cursor.decode(), decode_event(fields[b"e"])) for cursor, fields in entries]

    def subscribe(
        self, run: RunId, callback: Callable[[], None], *, end_of: str = ""
    ) -> AbstractContextManager[None]:
        """Reconnect a lost connection, and then call back once."""
        # one for all threads that ask at once: each would have a connection of its own
        notifier: Notifier = vars(self).setdefault("_notifier", Notifier(self.settings))
        return notifier.subscribe(self.keys.channel(run), callback, end_of)

    @explain
    def collect(
        self,
        shard: int,
        *,
        before: int,
        limit: int,
        noted: bool = False,
        archived: bool = False,
        only: RunLife | None = None,
    ) -> Collected:
        deleted: list[TaskAction] = []
        gone = kept = 0
        while True:
            found, missing, left, runs = script("collect")(
                self.client,
                *(self.keys.due(shard), self.keys.base(shard), before, limit, kept),
                "noted" if noted else "all",
                int(archived),
                *named(only),
            )
            for path, parts in runs:  # their shared specs are gone now, and whoever asked may want them
                run = RunId(*path.decode().split("/"))
                for name, data in pairs(parts).items():
                    self.remember_shared(run, name, data)
            for path, flat in found:
                deleted.append(self.decode(ActionId(*path.decode().split("/")), pairs(flat)))
            gone, kept = gone + missing, kept + left
            if len(found) + missing + left < limit:
                return Collected(tuple(deleted), gone, kept)

    @explain
    def trim_events(self, before: int, *, spilled: bool = False) -> int:
        trimmed = 0
        for shard in range(self.shards):
            border = f"{before}-0"
            if spilled:
                known: Any = self.client.get(self.keys.spilled(shard))
                at = (known or b"0-0").decode()
                border = at if int(at.partition("-")[0]) < before else border
            trimmed += int(self.client.xtrim(self.keys.events(shard), minid=border, approximate=False))
        return trimmed

    @explain
    def say_alive(self, worker: str, facts: bytes, seconds: int) -> bytes:
        """Keep a worker's liveness key for this many seconds, 0 removes it; return what it held before."""
        key = self.keys.worker(worker)
        if not seconds:
            self.client.delete(key)
            return b""
        before: Any = self.client.set(key, facts, ex=seconds, get=True)
        return bytes(before or b"")

    @explain
    def workers(self) -> dict[str, bytes]:
        """Read the liveness facts of all workers, by name."""
        start = self.keys.worker("")
        found = {}
        for key in self.client.scan_iter(match=start + "*", count=1000):
            facts: Any = self.client.get(key)
            if facts:
                found[key.decode()[len(start) :]] = facts
        return found

    @explain
    def record_audit(self, entries: Sequence[AuditEntry]) -> None:
        pipe = self.client.pipeline(transaction=False)
        for entry in entries:
            add_audit(pipe, self.keys.audit(self.shard_of(entry.id.run_id)), entry)
        pipe.execute()

    @explain
    def audit(self, shard: int) -> list[AuditEntry]:
        entries: Any = self.client.xrange(self.keys.audit(shard))
        return [_decode_audit(fields[b"a"]) for _, fields in entries]


def named(only: RunLife | None) -> tuple[str, str]:
    """Name a run, or none, for the script of `collect`."""
    return (str(only.run), only.incarnation) if only is not None else ("", "")


def add_audit(pipe: Pipeline, key: str, entry: AuditEntry) -> None:
    """Append a warning to the audit stream `key`, whose length is bounded."""
    pipe.xadd(key, {"a": records.encode_json(entry)}, maxlen=_AUDIT_LIMIT, approximate=False)


def _counts(raw: dict[bytes, bytes]) -> RunCounts:
    found = {ActionPhase(int(k)): int(v) for k, v in raw.items() if k.isdigit() and int(v)}
    return RunCounts(found)


def _codes(raw: dict[bytes, bytes]) -> frozenset[str]:
    return frozenset(name[2:].decode() for name in raw if name.startswith(b"x:"))


def _event_ids(field: bytes | None) -> list[str]:
    """Read the stream ids of the last events, oldest first, from field `e`."""
    return [part.decode() for part in field.split(b" ")[1:]] if field else []

"""The twin: reading records, runs, events and the results channel; keeping house."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.api.event import ActionEvent, AuditEntry
from reconciler.api.phase import ActionPhase
from reconciler.core.ordering import natural_page
from reconciler.stores.base import ChannelEntry, Page
from reconciler.stores.counts import Asking, RunCounts, RunSummary, newest_runs
from reconciler.stores.ended import End
from reconciler.stores.garbage import Collected, Life
from reconciler.stores.holds import RunLife
from reconciler.stores.memory.record import Cursor, Record, copied
from reconciler.stores.memory.state import MemoryCore, Shard, parse


class Queries(MemoryCore):
    """The verbs that read records, runs and events, and those of the collector and of audit entries."""

    def get(self, action: ActionId) -> TaskAction | None:
        with self._lock:
            record = self.shard(action).records.get(str(action))
            return self.view(record) if record is not None else None

    def get_many(self, actions: Sequence[ActionId]) -> list[TaskAction | None]:
        return [self.get(action) for action in actions]

    def list_actions(
        self, run: RunId, *, parent: str | None = None, after: str = "", limit: int = 500
    ) -> Page:
        with self._lock:
            members = self._shards[self.shard_of(run)].tree.get(run, set())
            wanted = (m for m in members if parent is None or m.startswith(f"{parent}/"))
            names = natural_page(wanted, after, limit)
            actions = self.get_many([run.action(name.rpartition("/")[2]) for name in names])
        more = names[-1] if len(names) == limit else ""
        return Page([action for action in actions if action is not None], more)

    def list_runs(self, limit: int = 50, before: int | RunSummary = 0) -> list[RunSummary]:
        with self._lock:
            every = [(at, run) for shard in self._shards for run, at in shard.runs.items()]
            wanted = newest_runs(every, limit, before)
            return [RunSummary(run, at, self._counts(run), self._codes(run)) for at, run in wanted]

    def list_asking(self, limit: int = 1000) -> Asking:
        with self._lock:
            found = [(at, path) for shard in self._shards for path, at in shard.asking.items()]
            return Asking.newest(found, limit, len(found))

    def counts(self, run: RunId) -> RunCounts | None:
        with self._lock:
            known = run in self._shards[self.shard_of(run)].runs
            return self._counts(run) if known else None

    def ends(self, actions: Sequence[ActionId]) -> list[End | None]:
        return [self._end(record) if record is not None else None for record in self.get_many(actions)]

    @staticmethod
    def _end(record: TaskAction) -> End:
        return End(
            id=record.id,
            incarnation=record.metadata.incarnation,
            phase=record.phase,
            status=record.status,
            signal=record.signal,
        )

    def ended_children(self, group: ActionId, after: int = 0, limit: int = 500) -> list[str]:
        with self._lock:
            return self.shard(group).ended.get(str(group), [])[after : after + limit]

    def _counts(self, run: RunId) -> RunCounts:
        counters = self._shards[self.shard_of(run)].counters[run]
        return RunCounts({p: n for p in ActionPhase if (n := counters.get(str(int(p)), 0))})

    def _codes(self, run: RunId) -> frozenset[str]:
        counters = self._shards[self.shard_of(run)].counters[run]
        return frozenset(name[2:] for name in counters if name.startswith("x:"))

    def events(self, action: ActionId, after: int = 0) -> list[ActionEvent]:
        with self._lock:
            shard = self.shard(action)
            record = shard.records.get(str(action))
            kept = [event_at(shard, cursor) for cursor in record.kept] if record is not None else []
            return [copied(event) for event in kept if event is not None and event.sequence > after]

    def channel(self, shard: int, after: str = "0-0", limit: int = 1000) -> list[ChannelEntry]:
        with self._lock:
            events = self._shards[shard].events
            start = bisect_right(events, cursor_of(after), key=lambda entry: entry[0])
            return [
                ChannelEntry(f"{at}-{count}", copied(event))
                for (at, count), event in events[start : start + limit]
            ]

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
        del limit  # the size of a page, and all of this is one
        with self._lock:
            now, state = self.now(), self._shards[shard]
            before, ended = self.ended_before(state, before, only)
            there = [path for _, path in ended if path in state.records]
            for _, path in ended:
                if path not in state.records:
                    del state.done[path]
            going = []
            for path in there:
                if not self._stays(state, path, before, noted=noted, archived=archived):
                    going.append(path)
                elif state.records[path].metadata.finalizers:
                    state.wake(path, now, now)
            deleted: list[TaskAction] = []
            before_this = -1
            while len(deleted) > before_this:  # of an abort those above ended first
                before_this = len(deleted)
                free = [path for path in going if path in state.records and not _is_above(state, path)]
                deleted += [self._forget(state, path) for path in free]
            self.wrote("collect", tuple(action.id for action in deleted))
        return Collected(tuple(deleted), len(ended) - len(there), len(there) - len(deleted))

    def ended_before(
        self, shard: Shard, before: int, only: RunLife | None
    ) -> tuple[int, list[tuple[int, str]]]:
        """Find what ended before a time, or all of a run that has ended, which is sealed; with the time that counts."""
        if only is None:
            return before, sorted((at, path) for path, at in shard.done.items() if at < before)
        paths = [str(record.id) for record in shard.records.values() if record.id.run_id == only.run]
        if shard.incarnations.get(only.run, "") != only.incarnation or not set(paths) <= shard.done.keys():
            return before, []
        if paths:
            shard.sealed.setdefault(only.run, False)
        return max(before, self.now() + 1), sorted((shard.done[path], path) for path in paths)

    def _forget(self, shard: Shard, path: str) -> TaskAction:
        record = shard.records[path]
        action = self.view(record)
        _forget(shard, path, record)
        return action

    def _stays(self, shard: Shard, path: str, before: int, *, noted: bool, archived: bool) -> bool:
        return (
            self.must_stay(shard, path, before)
            or (noted and _life(shard.records[path]) not in shard.garbage)
            or (archived and not shard.sealed.get(parse(path).run_id))
        )

    def must_stay(self, shard: Shard, path: str, before: int) -> bool:
        """Tell whether clean-up is owed, somebody above may be read, the run is held, or children live."""
        record = shard.records[path]
        if record.metadata.finalizers:
            return True
        if _wanted(shard, record, before) or self._held(shard, record):
            return True
        return record.has_children and shard.children(record.id).open > 0

    def _held(self, shard: Shard, record: Record) -> bool:
        life = RunLife(record.id.run_id, record.metadata.incarnation)
        return any(until > self.now() for until in shard.holds.get(life, {}).values())

    def trim_events(self, before: int, *, spilled: bool = False) -> int:
        trimmed = 0
        with self._lock:
            for shard in self._shards:
                border = min((before, 0), shard.spilled) if spilled else (before, 0)
                old = bisect_left(shard.events, border, key=lambda entry: entry[0])
                del shard.events[:old]
                trimmed += old
            self.wrote("trim_events", trimmed)
        return trimmed

    def record_audit(self, entries: Sequence[AuditEntry]) -> None:
        with self._lock:
            for entry in entries:
                self.shard(entry.id).audit.append(copied(entry))
            self.wrote("record_audit", tuple(entries))

    def audit(self, shard: int) -> list[AuditEntry]:
        with self._lock:
            return list(self._shards[shard].audit)


def cursor_of(text: str) -> Cursor:
    """Read a position as numbers."""
    at, _, count = text.partition("-")
    return int(at), int(count or 0)


def event_at(shard: Shard, cursor: Cursor) -> ActionEvent | None:
    """Return the event at a position; None when it was trimmed."""
    at = bisect_left(shard.events, cursor, key=lambda entry: entry[0])
    found = at < len(shard.events) and shard.events[at][0] == cursor
    return shard.events[at][1] if found else None


def _life(record: Record) -> Life:
    return Life(record.id, record.metadata.incarnation)


def _forget(shard: Shard, path: str, record: Record) -> None:
    """Remove an action, and with the last one all that is kept of its run."""
    action = record.id
    run = action.run_id
    del shard.records[path], shard.done[path]
    shard.steps.pop(path, None)
    shard.ended.pop(path, None)
    shard.due.pop(path, None)
    shard.tree[run].discard(f"{record.spec.parent_action_name or ''}/{action.action}")
    shard.count(run, str(int(record.phase)), -1)
    for kind in "tof":
        shard.counters[run].pop(f"{kind}:{action.action}", None)
    if not shard.tree[run]:
        for index in (shard.tree, shard.counters, shard.runs, shard.incarnations, shard.sealed):
            index.pop(run, None)


def _is_above(shard: Shard, path: str) -> bool:
    """Tell whether something below it exists: a new action of that name would take that for its own."""
    record = shard.records[path]
    run = record.id.run_id
    below = (m for m in shard.tree[run] if m.startswith(f"{record.id.action}/"))
    return record.has_children and any(
        str(run.action(member.rpartition("/")[2])) in shard.records for member in below
    )


def _wanted(shard: Shard, record: Record, before: int) -> bool:
    """Tell whether an ancestor lives or is still kept: its readers may also read what is below it."""
    while record.spec.parent_action_name is not None:
        parent = str(record.id.run_id.action(record.spec.parent_action_name))
        if parent not in shard.records:
            return False
        record = shard.records[parent]
        if not record.ended or shard.done.get(parent, 0) >= before:
            return True
    return False

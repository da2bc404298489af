"""The twin: submitting and stepping."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from reconciler.api.action import ActionId, Metadata, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.core.status_conditions import action_phase
from reconciler.stores import records
from reconciler.stores.base import (
    ClaimReport,
    CommitOutcome,
    CommitReport,
    Created,
    CreateOutcome,
    CreateReport,
    Late,
    Look,
    Write,
)
from reconciler.stores.changes import (
    EVENT_IDS,
    GRACE,
    PENDING_TTL,
    REFILL_AFTER,
    Change,
    change_of,
    differing_fields,
    first_event,
)
from reconciler.stores.lines import Head
from reconciler.stores.memory.state import (
    MemoryCore,
    Shard,
    held,
    number,
    owe,
    owed,
    parse,
    terminal,
)
from reconciler.stores.records import Fields


class Stepping(MemoryCore):
    """The verbs of submission and of steps."""

    def create(self, actions: Sequence[TaskAction], *, until: int = 0) -> CreateReport:
        cache: dict[Any, tuple[bytes, bytes]] = {}
        with self._lock:
            now = self.now()
            late = 0 < until < now
            outcomes = tuple(self._create(action, cache, now, late=late) for action in actions)
            new = [
                action
                for action, created in zip(actions, outcomes, strict=True)
                if created.outcome is CreateOutcome.CREATED
            ]
            runs = [action.id.run_id for action in new]
            shards = dict.fromkeys(self.shard_of(one.id.run_id) for one in new if not _recovered(one))
            wake = tuple(shard for shard in shards if self._shards[shard].need_message(now))
            self.wrote("create", outcomes)
        self.notify(runs)
        return CreateReport(outcomes, wake)

    def would_create(self, actions: Sequence[TaskAction]) -> tuple[Created, ...]:
        cache: dict[Any, tuple[bytes, bytes]] = {}
        with self._lock:
            admitted: set[ActionId] = set()
            outcomes = []
            for action in actions:
                answer = self._answer(action, records.encode_new(action, cache), admitted)
                if answer.outcome is CreateOutcome.CREATED:
                    admitted.add(action.id)
                outcomes.append(answer)
        return tuple(outcomes)

    def _answer(
        self, action: TaskAction, new: tuple[Fields, bytes, bytes], admitted: Collection[ActionId] = ()
    ) -> Created:
        """Tell what becomes of a submission; `admitted` are those that would have been stored before it."""
        shard, run = self.shard(action.id), action.id.run_id
        fields, _, part = new
        mine = action.metadata.incarnation
        old = shard.records.get(str(action.id))
        there = shard.incarnations.get(run, mine) if old is None else records.incarnation_of(old)
        if there != mine:
            return Created(CreateOutcome.OTHER_INCARNATION, incarnation=there)
        if old is not None:
            if all(old.get(name) == fields.get(name) for name in (b"s", b"h", b"r")):
                return Created(CreateOutcome.EXISTS)
            theirs = shard.shared.get(run, {}).get(old[b"h"], b"{}")
            return Created(CreateOutcome.CONFLICT, differing_fields(fields, part, old, theirs))
        if run in shard.sealed:
            return Created(CreateOutcome.SEALED)
        parent = action.spec.parent_action_name
        if parent and not _recovered(action) and run.action(parent) not in admitted:
            return Created(_below(shard.records.get(str(run.action(parent)))))
        return Created(CreateOutcome.CREATED)

    def _create(
        self, action: TaskAction, cache: dict[Any, tuple[bytes, bytes]], now: int, *, late: bool
    ) -> Created:
        shard, run = self.shard(action.id), action.id.run_id
        fields, digest, part = new = records.encode_new(action, cache)
        answer = self._answer(action, new)
        if answer.outcome is not CreateOutcome.CREATED:
            return answer
        if late:
            return Created(CreateOutcome.NOT_HELD)
        parent = action.spec.parent_action_name
        if parent:
            shard.count(run, f"t:{parent}", 1)
        if parent and not _recovered(action):
            shard.records[str(run.action(parent))][b"b"] = b"1"
            shard.count(run, f"o:{parent}", 1)
        elif parent:
            shard.ended.setdefault(str(run.action(parent)), []).append(action.id.action)
        shard.incarnations.setdefault(run, action.metadata.incarnation)
        shard.shared.setdefault(run, {}).setdefault(digest, part)
        self._store_new(shard, action, fields, now)
        return answer

    @staticmethod
    def _store_new(shard: Shard, action: TaskAction, fields: Fields, now: int) -> None:
        run, path, phase = action.id.run_id, str(action.id), int(action_phase(action.status))
        event = msgspec.structs.replace(first_event(action), updated_time=now, reported_time=now)
        cursor = shard.publish(records.encode_event(event), now)
        shard.records[path] = {
            **fields,
            b"c": b"%d" % now,
            b"v": b"1",
            b"p": b"%d" % phase,
            b"e": b"1 " + cursor,
        }
        if _recovered(action):
            shard.records[path][b"o"] = b"%d" % now
            shard.done[path] = now
        else:
            shard.due[path] = _plan(shard.records[path], action.metadata, now)
        shard.tree.setdefault(run, set()).add(f"{action.spec.parent_action_name or ''}/{action.id.action}")
        shard.runs.setdefault(run, now)
        shard.count(run, str(phase), 1)

    def claim(
        self, shard: int, *, owner: str, limit: int, named: Sequence[ActionId] = (), first: bool = False
    ) -> ClaimReport:
        with self._lock:
            now, state = self.now(), self._shards[shard]
            if first:
                state.pending_until = 0
            paths = list(dict.fromkeys(str(action) for action in named))
            claimed = [a for path in paths if (a := self._take(state, path, now, named=True)) is not None]
            due = ((at, path) for path, at in state.due.items() if at <= now and path not in paths)
            for _, path in heapq.nsmallest(limit - len(claimed), due):
                action = self._take(state, path, now, named=False)
                if action is not None:
                    claimed.append(action)
            at, arm = (0, False) if claimed else state.next_due(now, self._horizon)
            self.wrote("claim", (owner, tuple(action.id for action in claimed)))
            return ClaimReport(now, claimed, at, arm)

    def _take(self, shard: Shard, path: str, now: int, *, named: bool) -> TaskAction | None:
        """Claim one action, unless it is gone, held or has nothing left to do."""
        fields = shard.records.get(path)
        if fields is not None and held(fields, now):
            if named:
                shard.wake(path, now, now)
            else:
                shard.due[path] = number(fields, b"l")
            return None
        if fields is None or (terminal(fields) and not owed(fields)):
            shard.due.pop(path, None)
            return None
        _count_abandoned(fields)
        until = now + self._lease
        fields.update({b"k": b"%d" % (number(fields, b"k") + 1), b"l": b"%d" % until})
        if not {b"y", b"d"} & fields.keys():
            owe(fields)
        if number(fields, b"w") <= now:
            fields.pop(b"w", None)  # noted while a step held it that died; a request for later stays
        shard.due[path] = until
        if path in shard.lines.get(fields.get(b"nl", b"").decode(), {}):
            return self.decode(path, {**fields, b"in": b"1"}, now)
        return self.decode(path, fields, now)

    def commit(self, shard: int, writes: Sequence[Write]) -> CommitReport:
        with self._lock:
            now, state = self.now(), self._shards[shard]
            changes = [change_of(write) for write in writes]
            outcomes = tuple(self._apply(state, change, now) for change in changes)
            applied = [c for c, done in zip(changes, outcomes, strict=True) if done is CommitOutcome.DONE]
            for parent in {
                str(parse(c.path).run_id.action(c.parent)) for c in applied if c.ended and c.parent
            }:
                self._ended_child_wakes(state, parent, now)
            opened = _enter_lines(state, applied, now)
            at, arm = state.next_due(now, self._horizon)
            self.wrote("commit", outcomes)
        ended = [parse(change.path) for change in applied if change.ended]
        self.notify((parse(change.path).run_id for change in applied if change.events), ended)
        heads = tuple(Head(shard, line, min(state.lines[line].values()), self.stamp()) for line in opened)
        return CommitReport(now, outcomes, at, arm, heads)

    @staticmethod
    def _apply(shard: Shard, change: Change, now: int) -> CommitOutcome:
        fields = shard.records.get(change.path)
        if fields is None or records.incarnation_of(fields) != change.incarnation:
            return CommitOutcome.GONE
        # without a lease this very commit was applied before: its answer got lost on the way
        # another version under our token: the state was restored from an older one and tokens were counted anew
        if (fields.get(b"k"), number(fields, b"v")) != (change.token, change.version) or b"l" not in fields:
            return CommitOutcome.SUPERSEDED
        before = number(fields, b"p", 1)
        if terminal(fields) and change.phase not in {0, before}:
            return CommitOutcome.SUPERSEDED
        due = _due_after(fields, change)
        _write_fields(shard, fields, change, now)
        if change.ended and b"b" in fields and shard.children(parse(change.path)).open > 0:
            # it ended while children are open: a further round is owed, even if this step dies
            owe(fields)
            fields[b"k"], due = change.token, now
        if change.refill_at and shard.children(parse(change.path)).open <= change.refill_at:
            due = now  # what ended since the claim has woken nobody
        if due:
            shard.due[change.path] = due
        else:
            shard.due.pop(change.path, None)
        _count(shard, change, before, now)
        return CommitOutcome.DONE

    @staticmethod
    def _ended_child_wakes(shard: Shard, parent: str, now: int) -> None:
        """Wake a parent: by its last child to end, and by each one while its launch has ended. Nobody polls for a join.

        One that wants more children is woken when there is much room, else a moment later.
        """
        fields = shard.records.get(parent)
        if fields is None or terminal(fields):
            return
        if b"ar" in fields or shard.children(parse(parent)).open <= number(fields, b"ro"):
            shard.wake(parent, now, now)
        elif b"ro" in fields:
            shard.wake(parent, now + REFILL_AFTER, now)

    def wake(self, actions: Iterable[ActionId], at: int = 0) -> tuple[int, ...]:
        with self._lock:
            now = self.now()
            shards: dict[int, None] = {}
            for action in actions:
                fields = self.shard(action).records.get(str(action))
                if fields is not None and (not terminal(fields) or b"f" in fields):
                    self.shard(action).wake(str(action), at or now, now)
                    shards[self.shard_of(action.run_id)] = None
            self.wrote("wake", tuple(shards))
            if at > now:
                return ()
            return tuple(shard for shard in shards if self._shards[shard].need_message(now))

    def look(self, grace: int) -> Look:
        late: list[Late] = []
        heads: list[Head] = []
        with self._lock:
            now = self.now()
            for number_, shard in enumerate(self._shards):
                heads += [
                    Head(number_, line, min(standing.values()), self.stamp())
                    for line, standing in shard.lines.items()
                ]
                if shard.due and min(shard.due.values()) + grace <= now:
                    # unlike elsewhere also over a living mark: it may have outlived its message
                    shard.pending_until = now + PENDING_TTL
                    late.append(Late(number_, overdue=True, next_due=min(shard.due.values()), now=now))
                    continue
                at, arm = shard.next_due(now, self._horizon)
                if arm:
                    late.append(Late(number_, overdue=False, next_due=at, now=now))
            self.wrote("look", tuple(late))
        return Look(tuple(late), tuple(heads))

    def nudge(self, shard: int) -> bool:
        with self._lock:
            now, state = self.now(), self._shards[shard]
            needed = bool(state.due) and min(state.due.values()) <= now and state.need_message(now)
            self.wrote("nudge", needed)
        return needed

    def due(self, shard: int, limit: int = 1000) -> list[tuple[ActionId, int]]:
        with self._lock:
            entries = [(at, path) for path, at in self._shards[shard].due.items()]
        return [(parse(path), at) for at, path in heapq.nsmallest(limit, entries)]


def _below(parent: Fields | None) -> CreateOutcome:
    """Tell what becomes of a submission below this record."""
    if parent is None:
        return CreateOutcome.PARENT_MISSING
    if terminal(parent) or b"d" in parent:
        return CreateOutcome.PARENT_ENDED
    return CreateOutcome.CREATED


def _recovered(action: TaskAction) -> bool:
    """Tell whether it has ended before it began."""
    return action_phase(action.status) is ActionPhase.RECOVERED


def _plan(fields: Fields, metadata: Metadata, now: int) -> int:
    """Store when an action may start and when it expires; when a step is to look at it first."""
    start, ends = (now - at if at < 0 else at for at in (metadata.not_before, metadata.expires_at))
    if start:
        fields[b"nb"] = b"%d" % start
    if ends:
        fields[b"xp"] = b"%d" % ends
    due = max(now, start)
    return min(due, ends) if ends else due


def _count_abandoned(fields: Fields) -> None:
    """Count a lease that no commit removed: the step that held it died, or took too long."""
    if b"l" in fields:
        fields[b"la"] = b"%d" % (number(fields, b"la") + 1)
    else:
        fields.pop(b"la", None)


def _due_after(fields: Fields, change: Change) -> int:
    """Tell when to look again: as asked, or as woken while held, or when the lease of a running attempt ends.

    For a running attempt field `u` keeps the request without the lease.
    """
    due, woken = change.due, number(fields, b"w")
    if woken and due:
        due = min(due, woken)
    elif woken and not change.ended and not terminal(fields):
        due = woken
    if not change.seen or b"ao" not in fields or b"ar" in fields:
        return due
    fields.pop(b"u", None)
    if due:
        fields[b"u"] = b"%d" % due
    look = number(fields, b"al") + GRACE
    # a lease that had ended when the step looked has been judged by it
    return min(due or look, look) if look > change.seen else due


def _write_fields(shard: Shard, fields: Fields, change: Change, now: int) -> None:
    if change.sets or change.dels or change.events:
        fields[b"v"] = b"%d" % (number(fields, b"v") + 1)
    if change.unsent or change.launch:
        shard.leave(change.path, fields)
    fields.update(zip(change.sets[::2], change.sets[1::2], strict=True))
    if change.events:
        total, *ids = fields[b"e"].split(b" ")
        ids += [shard.publish(event, now) for event in change.events]
        fields[b"e"] = b" ".join([b"%d" % (int(total) + len(change.events)), *ids[-EVENT_IDS:]])
    for name in (*change.dels, b"l", b"w", b"ro"):
        fields.pop(name, None)
    if change.refill_at:
        fields[b"ro"] = b"%d" % change.refill_at


def _enter_lines(shard: Shard, changes: Iterable[Change], now: int) -> list[str]:
    """Put the launches of some writes into their lines; those that were empty."""
    opened = []
    for change in changes:
        if not change.launch:
            continue
        fields = shard.records[change.path]
        again = fields.get(b"n") == change.launch.encode()
        fields[b"n"] = change.launch.encode()
        if again and b"ao" in fields:
            continue  # a worker has begun since the claim what is sent again
        place = number(fields, b"np") if again else 0
        opened.append(
            shard.enter(change.path, change.line, place or shard.next_place(parse(change.path).run_id, now))
        )
    return [line for line in opened if line]


def _count(shard: Shard, change: Change, before: int, now: int) -> None:
    """Update the counters of the run and of the parent, and the index of terminal actions."""
    run = parse(change.path).run_id
    if change.phase not in {0, before}:
        shard.count(run, str(before), -1)
        shard.count(run, str(change.phase), 1)
    if not change.ended:
        return
    shard.done[change.path] = now
    if change.parent:
        shard.count(run, f"o:{change.parent}", -1)
        shard.count(run, f"f:{change.parent}", change.failed)
        shard.list_end(str(run.action(change.parent)), parse(change.path).action)

"""The twin: steps, from the claim to the commit."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from reconciler.api.action import FINALIZER, ActionId, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.tokens import UNCLAIMED, FencingToken
from reconciler.core.progress import begun
from reconciler.core.status_conditions import action_phase
from reconciler.stores.base import ClaimReport, CommitOutcome, CommitReport, Late, Look, Write
from reconciler.stores.launch_fence import NO_FENCE, fence_of, gives_up, taken_by
from reconciler.stores.lines import Head
from reconciler.stores.memory.record import Launch, Record, copied, copied_unknown
from reconciler.stores.memory.state import MemoryCore, Shard, parse
from reconciler.stores.timing import GRACE, PENDING_TTL, REFILL_AFTER

replace = msgspec.structs.replace


@dataclass(frozen=True)
class Decided:
    """A write, read as a decision about its action: copies of the parts it stores, and what they mean.

    Attributes:
        write: with copies of what is stored.
        path: of the action.
        phase: after the write.
        ends: the action ends by it.
    """

    write: Write
    path: str
    phase: ActionPhase
    ends: bool

    @classmethod
    def of(cls, write: Write) -> Decided:
        """Read a write.

        Raises:
            UNWRITABLE: a part of it has no JSON form.
        """
        action, before = write.action.copy(), write.original.phase
        if write.status:
            action.status, action.unknown = copied(action.status), copied_unknown(action.unknown)
        if write.metadata:
            action.metadata = copied(action.metadata)
        phase = action_phase(action.status) if write.status else before
        ends = write.status and phase.is_terminal() and not before.is_terminal()
        own = replace(write, action=action, events=[copied(event) for event in write.events])
        return cls(own, str(action.id), phase, ends)

    @property
    def parent(self) -> str:
        """Path of the action above it; empty = it is a root."""
        name = self.write.action.spec.parent_action_name
        return str(self.write.action.id.run_id.action(name)) if name else ""

    @property
    def over(self) -> bool:
        """Tell whether nothing is owed any more: nobody will claim it again."""
        return self.phase.is_terminal() and FINALIZER not in self.write.action.metadata.finalizers

    @property
    def sends_again(self) -> bool:
        """Tell whether the launch it puts into a line stood there before."""
        return self.write.launch is not None and self.write.launch[0] == self.write.original.attempt.launch

    @property
    def gives_up(self) -> bool:
        """Tell whether it gives a launch up."""
        return gives_up(self.write)

    def misjudges(self, launch: Launch | None) -> bool:
        """Tell whether the launch it gives up, replaces or ends has changed hands, or has ended, since the claim."""
        fence = fence_of(self.write)
        if fence == NO_FENCE or launch is None:
            return False
        return launch.outcome is not None or taken_by(launch.owner, launch.started_at) != fence


class Stepping(MemoryCore):
    """The verbs of steps."""

    def claim(
        self, shard: int, *, owner: str, limit: int, named: Sequence[ActionId] = (), first: bool = False
    ) -> ClaimReport:
        with self._lock:
            now, state = self.now(), self._shards[shard]
            if first:
                state.pending_until = 0
            paths = list(dict.fromkeys(str(action) for action in named))
            claimed = [a for path in paths if (a := self._take(state, path, now, named=True)) is not None]
            room = limit - len(claimed)
            claimed += self._take_due(state, room, now, besides=paths) if room > 0 else ()
            at, arm = (0, False) if claimed else state.next_due(now, self._horizon)
            self.wrote("claim", (owner, tuple(action.id for action in claimed)))
            return ClaimReport(now, claimed, at, arm)

    def _take_due(self, shard: Shard, room: int, now: int, *, besides: list[str]) -> list[TaskAction]:
        """Claim what is due; if that is more than there is room for, up to half of it from the notes of `Next`."""
        due = [path for _, path in heapq.nsmallest(room, shard.due_at(now))]
        ahead = [path for path in shard.next.take(room // 2) if shard.due.get(path, now + 1) <= now]
        if len(due) < room:  # all is taken, so nobody is next
            ahead = []
            shard.next.since.clear()
        claimed: list[TaskAction] = []
        for path in dict.fromkeys([*ahead, *due]):
            if len(claimed) < room and path not in besides:
                action = self._take(shard, path, now, named=False)
                claimed += [action] if action is not None else []
        return claimed

    def _take(self, shard: Shard, path: str, now: int, *, named: bool) -> TaskAction | None:
        """Claim one action, unless it is gone, held or finished."""
        record = shard.records.get(path)
        if record is not None and record.held(now):
            if named:
                shard.wake(path, now, now)
            else:
                shard.due[path] = record.held_until
            return None
        if record is None or (record.ended and not record.owes):
            shard.due.pop(path, None)
            return None
        # a lease that no commit removed: the step that held it died, or took too long
        record.abandoned = record.abandoned + 1 if record.held_until else 0
        record.token = FencingToken(record.token + 1)
        record.held_until = shard.due[path] = now + self._lease
        if not record.is_condition and record.metadata.deletion is None:
            record.owe()
        if record.woken_at <= now:
            record.woken_at = 0  # noted while a step held it that died; a request for later stays
        children = shard.children(record.id) if record.has_children else None
        return record.view(children, now, in_line=path in shard.lines.get(record.line, {}))

    def commit(self, shard: int, writes: Sequence[Write]) -> CommitReport:
        with self._lock:
            # what cannot be stored spoils all, and nothing is
            report, applied = self.decided(shard, [Decided.of(write) for write in writes])
        self.tell(applied)
        return report

    def decided(self, shard: int, decided: Sequence[Decided]) -> tuple[CommitReport, list[Decided]]:
        """Commit decisions, under the lock; return the report, and those that were applied: for `tell`, without it."""
        with self._lock:
            now, state = self.now(), self._shards[shard]
            outcomes = tuple(self._apply(state, one, now) for one in decided)
            applied = [d for d, done in zip(decided, outcomes, strict=True) if done is CommitOutcome.DONE]
            for parent in {one.parent for one in applied if one.ends and one.parent}:
                self._ended_child_wakes(state, parent, now)
            opened = _enter_lines(state, applied, now)
            at, arm = state.next_due(now, self._horizon)
            self.wrote("commit", outcomes)
            heads = tuple(Head(shard, line, min(state.lines[line].values()), self.stamp()) for line in opened)
            return CommitReport(now, outcomes, at, arm, heads), applied

    def tell(self, applied: Sequence[Decided]) -> None:
        """Call the waiters for what was committed."""
        ended = [one.write.action.id for one in applied if one.ends]
        self.notify((one.write.action.id.run_id for one in applied if one.write.events), ended)

    @staticmethod
    def _apply(shard: Shard, decided: Decided, now: int) -> CommitOutcome:
        write, record = decided.write, shard.records.get(decided.path)
        claimed = write.original
        if record is None or record.metadata.incarnation != claimed.metadata.incarnation:
            return CommitOutcome.GONE
        # without a lease this very commit was applied before: its answer got lost on the way
        # another version under our token: the state was restored from an older one and tokens were counted anew
        if (record.token, record.version) != (write.action.token, claimed.version) or not record.held_until:
            return CommitOutcome.SUPERSEDED
        before = record.phase
        if record.ended and decided.phase is not before:
            return CommitOutcome.SUPERSEDED
        if decided.misjudges(record.launch):
            record.held_until = record.woken_at = 0
            shard.due[decided.path] = now  # the next round sees what has become of it
            return CommitOutcome.SUPERSEDED
        due = _due_after(record, decided)
        if decided.ends or decided.over or decided.gives_up or write.launch is not None:
            shard.leave(decided.path, record.line)
        _store(record, decided, now)
        for event in write.events:
            shard.publish(record, event, now)
        open_ = shard.children(record.id).open
        if decided.ends and record.has_children and open_ > 0:
            # it ended while children are open: a further round is owed, even if this step dies
            record.owe()
            record.token, due = write.action.token, now
        if record.refill_at and open_ <= record.refill_at:
            due = now  # what ended since the claim has woken nobody
        if due:
            shard.due[decided.path] = due
        else:
            shard.due.pop(decided.path, None)
        _count(shard, decided, before, now)
        return CommitOutcome.DONE

    @staticmethod
    def _ended_child_wakes(shard: Shard, parent: str, now: int) -> None:
        """Wake a parent: by its last child to end, and by each child while its launch is over. Nobody polls for a join.

        One that wants more children is woken when there is much room, else a moment later. A launch at work is told itself.
        """
        record = shard.records.get(parent)
        if record is None or record.ended:
            return
        launch = record.launch
        launch_ended = launch is not None and launch.outcome is not None
        begun = launch is not None and bool(launch.owner)
        at_work = begun and not launch_ended and not record.refill_at and record.metadata.deletion is None
        if launch_ended or (shard.children(record.id).open <= record.refill_at and not at_work):
            shard.wake(parent, now, now)
        elif record.refill_at:
            shard.wake(parent, now + REFILL_AFTER, now)

    def wake(self, actions: Iterable[ActionId], at: int = 0) -> tuple[int, ...]:
        with self._lock:
            now = self.now()
            shards: dict[int, None] = {}
            for action in actions:
                record = self.shard(action).records.get(str(action))
                if record is not None and (not record.ended or record.metadata.finalizers):
                    self.shard(action).wake(str(action), at or now, now)
                    shards[self.shard_of(action.run_id)] = None
            self.wrote("wake", tuple(shards))
            if at > now:
                return ()
            return tuple(shard for shard in shards if self._shards[shard].need_message(now))

    def look(self, grace: int, *, anew: bool = False) -> Look:
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
                if anew:
                    shard.armed = 0
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


def _due_after(record: Record, decided: Decided) -> int:
    """Return when to look again: as asked, as woken during the claim, or when the lease of a running attempt ends.

    For a running attempt `Launch.look_at` keeps the request without the lease.
    """
    due, woken = decided.write.due, record.woken_at
    if woken and due:
        due = min(due, woken)
    elif woken and not decided.ends and not record.ended:
        due = woken
    launch, seen = record.launch, decided.write.action.now
    if launch is None or not launch.owner or launch.outcome is not None or decided.phase.is_terminal():
        return due
    if decided.write.launch is not None and not decided.sends_again:
        return due  # its lease ends with it
    launch.look_at = due
    look = launch.lease_until + GRACE
    # a lease that had ended when the step looked has been judged by it
    return min(due or look, look) if look > seen else due


def _store(record: Record, decided: Decided, now: int) -> None:
    """Store a decision in the record, without changing what others may have written since the claim."""
    write, action = decided.write, decided.write.action
    if write.status or write.metadata or write.events or write.launch is not None:
        record.version += 1
    if write.status:
        record.status, record.unknown, record.phase = action.status, action.unknown, decided.phase
    if write.metadata:
        record.set_metadata(
            namespace=action.metadata.namespace,
            finalizers=action.metadata.finalizers,
            extra_labels=action.metadata.extra_labels,
            annotations=action.metadata.annotations,
            completed_at=action.metadata.completed_at or record.metadata.completed_at,
        )
    _store_launch(record, decided, now)
    record.held_until = record.woken_at = 0
    record.refill_at = 0 if decided.phase.is_terminal() else write.refill_at
    if decided.over:
        record.token, record.launch = UNCLAIMED, None  # nobody may report any more


def _store_launch(record: Record, decided: Decided, now: int) -> None:
    chosen = decided.write.launch
    if chosen is None:
        if decided.gives_up:
            record.launch = None  # or its late worker could put it back into a line
        return
    if record.launch is not None and decided.sends_again:
        # a worker may have begun since the claim what is sent again: its lease stands. What was to stop another worker,
        # which has given it back meanwhile, would keep this one from being drawn
        record.launch.sent_at, record.launch.handed_back, record.launch.stop = now, None, ""
    else:
        record.launch = Launch(chosen[0], now)
    if begun(decided.write.original):
        record.set_metadata(expires_at=0)  # in time: no draw may take this launch for one that came too late


def _enter_lines(shard: Shard, applied: Iterable[Decided], now: int) -> list[str]:
    """Put the launches of some writes into their lines; return the lines that were empty."""
    opened = []
    for one in applied:
        launch = shard.records[one.path].launch
        if one.write.launch is None or launch is None or launch.owner:
            continue  # a worker has begun since the claim what is sent again
        place = launch.place or shard.next_place(one.write.action.id.run_id, now)
        opened.append(shard.enter(one.path, one.write.launch[1], place))
    return [line for line in opened if line]


def _count(shard: Shard, decided: Decided, before: ActionPhase, now: int) -> None:
    """Update the counters of the run and of the parent, and the index of terminal actions."""
    action = decided.write.action.id
    if decided.phase is not before:
        shard.count(action.run_id, str(int(before)), -1)
        shard.count(action.run_id, str(int(decided.phase)), 1)
        shard.asking.pop(decided.path, None)
        if decided.phase is ActionPhase.PAUSED:
            shard.asking[decided.path] = now
    if not decided.ends:
        return
    shard.done[decided.path] = now
    error = decided.write.action.status.error_state
    if error is not None and error.code:
        shard.count(action.run_id, f"x:{error.code}", 1)
    parent = decided.write.action.spec.parent_action_name
    if parent:
        shard.count(action.run_id, f"o:{parent}", -1)
        shard.count(action.run_id, f"f:{parent}", decided.phase is not ActionPhase.SUCCEEDED)
        shard.list_end(decided.parent, action.action)

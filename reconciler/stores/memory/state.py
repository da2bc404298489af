"""The data of the twin, shard by shard, and the rules that all its verbs share."""

from __future__ import annotations

import threading
import time
import uuid
from binascii import crc32
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from reconciler.api.action import ActionId, Children, RunId, TaskAction
from reconciler.api.event import ActionEvent, AuditEntry
from reconciler.core.line import RELAUNCH, read_line
from reconciler.stores.base import ANY
from reconciler.stores.garbage import Folders, Life
from reconciler.stores.holds import RunLife
from reconciler.stores.memory.heads import Heads
from reconciler.stores.memory.next import Next
from reconciler.stores.memory.record import Cursor, Record
from reconciler.stores.timing import APART, CROWD, EVENT_IDS, GRACE, PENDING_TTL

AUDIT_LIMIT = 1000


@dataclass
class Shard:
    """All state of one shard. Paths are `project/domain/run/action`; times are ms since the epoch.

    Attributes:
        records: what is stored of each action, by path.
        due: when each live action is looked at next.
        next: who of those that are due is taken before its turn.
        done: when each terminal action ended.
        asking: since when each action that waits for a person does.
        tree: `parent/action` of each action of a run; a root has an empty parent.
        counters: actions of a run by phase number, children by parent (`t:`, `o:`, `f:` and its name), and
            ends by the code of the last error (`x:` and the code).
        runs: when each run was created.
        incarnations: which incarnation of its name each run is; empty for one of a release before.
        events: the results channel, oldest first.
        audit: the newest warnings.
        lines: places of the launches that stand in each line, by path.
        pending_until: how long the mark "a wake-up message is on its way" lives.
        armed: time of the countdown message on its way.
        garbage: folders in S3 of actions that were to be forgotten.
        spilled: up to where old events that are wanted lie in the archive.
        sealed: runs nothing can be added to, and whether they are in the archive.
        holds: until when the records of a run are kept, by the runs that hold it.
        steps: values the function of each action keeps, by name.
        ended: names of the children of each group in the order of their ends.
    """

    records: dict[str, Record] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    next: Next = field(default_factory=Next)
    done: dict[str, int] = field(default_factory=dict)
    asking: dict[str, int] = field(default_factory=dict)
    tree: dict[RunId, set[str]] = field(default_factory=dict)
    counters: dict[RunId, dict[str, int]] = field(default_factory=dict)
    runs: dict[RunId, int] = field(default_factory=dict)
    incarnations: dict[RunId, str] = field(default_factory=dict)
    events: list[tuple[Cursor, ActionEvent]] = field(default_factory=list)
    last_cursor: Cursor = (0, 0)
    audit: deque[AuditEntry] = field(default_factory=lambda: deque(maxlen=AUDIT_LIMIT))
    lines: dict[str, dict[str, int]] = field(default_factory=dict)
    pending_until: int = 0
    armed: int = 0
    garbage: dict[Life, Folders] = field(default_factory=dict)
    spilled: Cursor = (0, 0)
    sealed: dict[RunId, bool] = field(default_factory=dict)
    holds: dict[RunLife, dict[RunId, int]] = field(default_factory=dict)
    steps: dict[str, dict[str, bytes]] = field(default_factory=dict)
    ended: dict[str, list[str]] = field(default_factory=dict)

    def count(self, run: RunId, name: str, by: int) -> None:
        """Change one counter of a run."""
        counters = self.counters.setdefault(run, {})
        counters[name] = counters.get(name, 0) + by

    def children(self, action: ActionId) -> Children:
        """Count the children of an action."""
        counters = self.counters.get(action.run_id, {})
        return Children(*(counters.get(f"{kind}:{action.action}", 0) for kind in "tof"))

    def list_end(self, parent: str, name: str) -> None:
        """Add to the ended children of a group; for other parents nothing is kept."""
        above = self.records.get(parent)
        if above is not None and above.lists_ends:
            self.ended.setdefault(parent, []).append(name)

    def publish(self, record: Record, event: ActionEvent, now: int) -> None:
        """Append an event of an action to the results channel. By default its report time is that of the event."""
        if not event.reported_time:
            event = msgspec.structs.replace(event, reported_time=event.updated_time)
        at, count = self.last_cursor
        self.last_cursor = (now, 0) if now > at else (at, count + 1)
        self.events.append((self.last_cursor, event))
        record.events += 1
        record.kept = [*record.kept, self.last_cursor][-EVENT_IDS:]

    def due_at(self, now: int) -> Iterator[tuple[int, str]]:
        """List what is due, and since when."""
        return ((at, path) for path, at in self.due.items() if at <= now)

    def wake(self, path: str, at: int, now: int) -> None:
        """Make an action due, never later than it was; during a claim, note the request for the end of the claim.

        Noted also once the lease of the claim has run out: a slow step may still commit, and writes its own due time.
        """
        record = self.records[path]
        if record.held_until:
            record.woken_at = min(at, record.woken_at or at)
        if record.held(now):
            return
        self.due[path] = min(at, self.due.get(path, at))
        if at <= now:
            self.next.note(path, self.due, now)
        launch = record.launch
        if at > now and launch is not None and launch.owner:
            # heartbeats move the due time of a running attempt, but never past this
            launch.look_at = min(at, launch.look_at or at)

    def leave(self, path: str, line: str) -> None:
        """Take the launch of an action out of a line, if it stands there."""
        record = self.records.get(path)
        if record is not None and record.launch is not None and record.launch.line == line:
            record.launch.line = ""
        standing = self.lines.get(line, {})
        standing.pop(path, None)
        if not standing:
            self.lines.pop(line, None)

    def enter(self, path: str, line: str, place: int) -> str:
        """Put the launch of an action into a line; return the line's name if it was empty before, else nothing.

        The level is that of the priority given last, which may be after the line was chosen; a relaunch stays ahead of all.
        """
        record, chosen = self.records[path], read_line(line)
        if record.ranked and chosen.level != RELAUNCH:
            line = msgspec.structs.replace(chosen, level=record.metadata.priority).name
        assert record.launch is not None
        record.launch.line, record.launch.place = line, place
        opened = line not in self.lines
        self.lines.setdefault(line, {})[path] = place
        return line if opened else ""

    def next_place(self, run: RunId, now: int) -> int:
        """Choose where the next launch of a run stands: at the time it came, but behind the launch before it."""
        counters = self.counters.setdefault(run, {})
        place = counters["lp"] = max(now, counters.get("lp", 0) + APART)
        return place

    def begin(self, path: str, owner: str, lease: int, now: int) -> None:
        """Give the lease of a launch to a worker; a step that holds the action sees the lease when it commits."""
        record, until = self.records[path], now + lease
        launch = record.launch
        assert launch is not None
        launch.take(owner, until, now)
        if not record.held(now):
            launch.look_at = self.due.get(path, launch.look_at)
            self.due[path] = min(until + GRACE, self.due.get(path, until + GRACE))

    def need_message(self, now: int) -> bool:
        """Tell whether the caller must send a wake-up message, because nobody else did a moment ago."""
        if self.pending_until > now:
            return False
        self.pending_until = now + PENDING_TTL
        return True

    def next_due(self, now: int, horizon: int) -> tuple[int, bool]:
        """Find the earliest due time (0: nothing is due), and whether the caller must send a countdown for it.

        At most one countdown is armed; a time beyond the horizon is left to the resync sweep.
        """
        at = min(self.due.values(), default=0)
        if at <= now or at > now + horizon or now < self.armed <= at:
            return at, False
        self.armed = at
        return at, True


class MemoryCore:
    """Base of the parts of `MemoryStore`."""

    def __init__(
        self,
        *,
        clock: Callable[[], int] | None = None,
        shards: int = 16,
        step_lease: timedelta = timedelta(seconds=10),
        max_countdown: timedelta = timedelta(seconds=15),
        crowd: int = CROWD,
    ) -> None:
        self.shards = shards
        self.on_write: Callable[[str, object], None] | None = None
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._lease = int(step_lease.total_seconds() * 1000)
        self._horizon = int(max_countdown.total_seconds() * 1000)
        self._shards = [Shard(next=Next(crowd)) for _ in range(shards)]
        self._heads: dict[str, Heads] = {}
        self._stamp = 0
        self._lock = threading.RLock()
        self._turns: dict[str, int] = {}
        self._installation = uuid.uuid4().hex
        self._waiting: dict[RunId, list[tuple[Callable[[], None], str]]] = {}

    def now(self) -> int:
        """Return the store's time: the clock it was given."""
        return self._clock()

    def stamp(self) -> int:
        """Return the store's time in µs, later with each call."""
        self._stamp = max(self.now() * 1000, self._stamp + 1)
        return self._stamp

    def shard_of(self, run: RunId) -> int:
        """Compute the shard of a run, the same as in the Redis store."""
        return crc32(str(run).encode()) % self.shards

    def shard(self, action: ActionId) -> Shard:
        """Return the state of an action's shard."""
        return self._shards[self.shard_of(action.run_id)]

    def view(self, record: Record, now: int = 0) -> TaskAction:
        """Make the record the API speaks of, with its counts of children."""
        shard = self.shard(record.id)
        return record.view(shard.children(record.id) if record.has_children else None, now)

    def wrote(self, verb: str, detail: object) -> None:
        """Tell the hook that a verb was applied."""
        for shard in self._shards:
            shard.next.verb_ends()
        if self.on_write is not None:
            self.on_write(verb, detail)

    @contextmanager
    def subscribe(self, run: RunId, callback: Callable[[], None], *, end_of: str = "") -> Iterator[None]:
        """Run `callback` in the thread that committed, after the write."""
        waiting = (callback, end_of)
        with self._lock:
            self._waiting.setdefault(run, []).append(waiting)
        try:
            yield
        finally:
            with self._lock:
                self._waiting[run].remove(waiting)
                if not self._waiting[run]:
                    del self._waiting[run]

    def notify(self, runs: Iterable[RunId], ended: Iterable[ActionId] = ()) -> None:
        """Call the waiters for these runs, or for the ends of these actions. Not under the lock: callbacks may take any."""
        names = {(action.run_id, action.action) for action in ended}
        ends = {run for run, _ in names}
        with self._lock:
            callbacks = [
                callback
                for run in dict.fromkeys(runs)
                for callback, end_of in self._waiting.get(run, ())
                if not end_of or (run, end_of) in names or (end_of == ANY and run in ends)
            ]
        for callback in callbacks:
            callback()


def parse(path: str) -> ActionId:
    """Read the identity that a path of the store names."""
    return ActionId(*path.split("/"))

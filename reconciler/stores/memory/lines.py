"""The twin: the lines of queues, and the heads that tell which of them have launches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.audit import Ruling, Who, ruling
from reconciler.core.line import RELAUNCH, read_line
from reconciler.stores.known import LACKING
from reconciler.stores.lines import Draw, GivenBack, Head, Pick, QueueState, Served, Turn
from reconciler.stores.memory.functions import Functions
from reconciler.stores.memory.heads import Heads
from reconciler.stores.memory.record import Record
from reconciler.stores.memory.state import Shard
from reconciler.stores.timing import PART, PRIORITIES


class QueueLines(Functions):
    """The verbs for lines of launches and the queues they belong to."""

    def announce(self, queue: str, heads: Sequence[Head] = ()) -> bool:
        with self._lock:
            state = self._heads.setdefault(queue, Heads())
            for head in heads:
                state.announce(head)
            needed = state.need_ticket(self.now())
            self.wrote("announce", (queue, len(heads)))
        return needed

    def pick(
        self,
        queue: str,
        *,
        worker: str = "",
        served: Sequence[Served] = (),
        first: bool = False,
        choose: bool = True,
    ) -> Pick:
        with self._lock:
            state = self._heads.setdefault(queue, Heads())
            for one in served:
                state.serve(one)
            if first:
                state.ticket_until = 0
            lines = len(state.known)
            head = state.choose(self._taste(queue, worker), self.now()) if choose else None
            self.wrote("pick", (queue, head))
        return Pick(head.shard, head.line, lines) if head is not None else Pick(lines=lines)

    def _taste(self, queue: str, worker: str) -> Callable[[str], bool]:
        """Choose what a worker is given: what it can run, what it lacks secrets for if all do, and what nobody knows."""
        living = self.living(queue)
        mine = living.get(worker)
        if mine is None:
            return lambda _: True
        known = {function for functions in living.values() for function in functions}

        def for_me(function: str) -> bool:
            for name in (function, LACKING + function):
                if name in mine or name in known:
                    return name in mine
            return True

        return for_me

    def draw(self, shard: int, line: str, *, owner: str, limit: int, lease: int, least: int = 1) -> Draw:
        with self._lock:
            now, state = self.now(), self._shards[shard]
            standing = state.lines.get(line, {})
            want = min(limit, max(least, math.ceil(len(standing) / PART)))
            drawn: list[str] = []
            for path in sorted(standing, key=lambda path: (standing[path], path)):
                if len(drawn) == want:
                    break
                if _waits(state, path, line) and not _expired(state, path, now):
                    state.begin(path, owner, lease, now)
                    drawn.append(path)
                state.leave(path, line)
            launches = [one for path in drawn if (one := state.records[path].launch) is not None]
            for launch in launches:
                launch.drawn_with = len(launches) if len(launches) > 1 else 0
            left = state.lines.get(line, {})
            head = Head(shard, line, min(left.values(), default=0), self.stamp())
            actions: list[TaskAction] = [self.view(state.records[path], now) for path in drawn]
            self.wrote("draw", (owner, tuple(action.id for action in actions)))
        return Draw(actions, len(left), head)

    def give_back(
        self, shard: int, line: str, *, owner: str, launches: Sequence[GivenBack]
    ) -> tuple[Head, ...]:
        with self._lock:
            now, state = self.now(), self._shards[shard]
            ours = [one for one in launches if _is_drawn(state.records.get(str(one.action)), owner, one)]
            opened = [_put_back(state, str(one.action), line, now) for one in ours]
            self.wrote("give_back", (owner, tuple((one.action, one.launch) for one in ours)))
            return self._opened((shard, name) for name in opened if name)

    def prioritize(
        self, actions: Sequence[ActionId], priority: int, *, incarnation: str = "", by: Who | None = None
    ) -> tuple[int, tuple[Head, ...]]:
        with self._lock:
            ruled = ruling(f"priority {priority}", by, self.now())
            changed, opened = 0, dict[tuple[int, str], None]()
            for action in actions:
                shard, path = self.shard(action), str(action)
                record = shard.records.get(path)
                if record is None or record.ended or record.another_life(incarnation):
                    continue
                changed += 1
                record.ranked = True
                record.set_metadata(priority=priority)
                if ruled is not None:
                    noted = (*record.metadata.priorities, ruled)[-PRIORITIES:]
                    record.set_metadata(prioritized=ruled, priorities=noted)
                line = read_line(record.line) if record.line else None
                if line is not None and line.level not in {RELAUNCH, priority}:
                    self._transfer(shard, path, record.line, opened)
            self.wrote("prioritize", (priority, changed))
            return changed, self._opened(opened)

    def move(self, queue: str, to: str) -> tuple[int, tuple[Head, ...]]:
        with self._lock:
            moved, opened = 0, dict[tuple[int, str], None]()
            for shard in self._shards:
                for name in [name for name in shard.lines if read_line(name).queue == queue]:
                    for path in list(shard.lines[name]):
                        other = msgspec.structs.replace(read_line(name), queue=to).name
                        self._transfer(shard, path, other, opened)
                        moved += 1
            self.wrote("move", (queue, to, moved))
            return moved, self._opened(opened)

    def _transfer(self, shard: Shard, path: str, line: str, opened: dict[tuple[int, str], None]) -> None:
        launch = shard.records[path].launch
        assert launch is not None
        shard.leave(path, launch.line)
        if name := shard.enter(path, line, launch.place):
            opened[self._shards.index(shard), name] = None

    def _opened(self, lines: Iterable[tuple[int, str]]) -> tuple[Head, ...]:
        return tuple(
            Head(shard, line, min(self._shards[shard].lines[line].values()), self.stamp())
            for shard, line in lines
        )

    def set_queue(
        self, queue: str, *, pause: bool | None = None, limit: int | None = None, note: Ruling | None = None
    ) -> QueueState:
        with self._lock:
            state = self._heads.setdefault(queue, Heads())
            if note is not None:
                state.ruled.append(msgspec.structs.replace(note, at=self.now()))
            state.paused = state.paused if pause is None else pause
            state.limit = state.limit if limit is None else limit
            self.wrote("set_queue", (queue, state.paused, state.limit))
            return QueueState(state.paused, state.limit)

    def queues_with_rules(self) -> set[str]:
        with self._lock:
            return {name for name, heads in self._heads.items() if heads.paused or heads.limit >= 0}

    def rulings(self, queue: str) -> list[Ruling]:
        with self._lock:
            return list(self._heads[queue].ruled) if queue in self._heads else []

    def launches_waiting(self) -> dict[str, int]:
        with self._lock:
            waiting: Counter[str] = Counter()
            for shard in self._shards:
                for name, standing in shard.lines.items():
                    waiting[read_line(name).queue] += len(standing)
            return dict(waiting)

    def turn(self, action: ActionId) -> Turn:
        with self._lock:
            shard, path = self.shard(action), str(action)
            line = shard.records[path].line if path in shard.records else ""
            standing = shard.lines.get(line, {})
            order = sorted(standing, key=lambda other: (standing[other], other))
            due = shard.due.get(path, 0)
            return Turn(line, order.index(path), due) if path in standing else Turn(due=due)


def _waits(shard: Shard, path: str, line: str) -> bool:
    """Tell whether the launch of an action stands in this line and is still wanted."""
    record = shard.records.get(path)
    if record is None or record.launch is None or record.ended or record.stopping:
        return False
    return record.launch.line == line and not record.launch.owner


def _expired(shard: Shard, path: str, now: int) -> bool:
    """Tell whether an action should have begun before now; a step then ends it."""
    expires = shard.records[path].metadata.expires_at
    if not expires or expires > now:
        return False
    shard.wake(path, now, now)
    return True


def _put_back(shard: Shard, path: str, line: str, now: int) -> str:
    """Put one launch back; return its line if that was empty."""
    record = shard.records[path]
    launch = record.launch
    assert launch is not None
    look = launch.look_at
    launch.leave()
    launch.drawn_with = 0
    # who woke the action meanwhile waits for a look, and a step that holds it writes its own due time
    if not record.held_until and shard.due.get(path, 0) > now:
        shard.due.pop(path, None)
        if look:
            shard.due[path] = look
    return shard.enter(path, line, launch.place or now)


def _is_drawn(record: Record | None, owner: str, one: GivenBack) -> bool:
    """Tell whether this worker holds the launch and has not reported."""
    if record is None or record.launch is None or record.launch.outcome is not None:
        return False
    return record.runs(one.launch, owner, one.incarnation)

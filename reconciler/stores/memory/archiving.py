"""The verbs of the archive, in memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from reconciler.api.action import RunId, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.core.ordering import natural_page
from reconciler.stores import records
from reconciler.stores.archiving import OldEvents, RawAction, RawRun, SealedRun
from reconciler.stores.events import encode_event
from reconciler.stores.memory.queries import cursor_of, event_at
from reconciler.stores.memory.state import MemoryCore, Shard, parse

_LIVE = [str(int(phase)) for phase in ActionPhase if not phase.is_terminal()]


class Archiving(MemoryCore):
    """The verbs of the archive: seal runs, read them as a whole, note that they are archived."""

    def seal(self, shard: int, *, before: int, limit: int, after: int = 0) -> tuple[list[SealedRun], int]:
        with self._lock:
            state = self._shards[shard]
            ended = sorted((at, path) for path, at in state.done.items() if at < before)
            page = ended[after : after + limit]
            sealed = []
            for run in dict.fromkeys(parse(path).run_id for _, path in page):
                known = run in state.sealed
                if not state.sealed.get(run) and (known or _over(state, run, before)):
                    state.sealed[run] = False
                    sealed.append(SealedRun(run, state.incarnations.get(run, "")))
            self.wrote("seal", tuple(sealed))
        return sealed, len(page)

    def recall(self, run: RunId) -> RawRun | None:
        with self._lock:
            state = self._shards[self.shard_of(run)]
            members = state.tree.get(run)
            if not members:
                return None
            names = [name.rpartition("/")[2] for name in natural_page(members, "", len(members))]
            shared: dict[str, str] = {}
            actions = [_raw(state, self.view(state.records[str(run.action(n))]), shared) for n in names]
            return RawRun(run, state.incarnations.get(run, ""), state.runs[run], shared, actions)

    def set_archived(self, shard: int, runs: Sequence[SealedRun]) -> None:
        with self._lock:
            state = self._shards[shard]
            for sealed in runs:
                if (
                    sealed.run in state.sealed
                    and state.incarnations.get(sealed.run, "") == sealed.incarnation
                ):
                    state.sealed[sealed.run] = True
            self.wrote("set_archived", tuple(runs))

    def old_events(self, shard: int, *, before: int, limit: int, after: str = "") -> OldEvents:
        with self._lock:
            state = self._shards[shard]
            oldest = min(state.runs.values(), default=0)
            border = f"{before - 1}-{2**32 - 1}"  # what comes at the time itself is not looked at
            if not oldest or oldest >= before:
                return OldEvents([], border, False, oldest)
            behind = cursor_of(after) if after else state.spilled
            start = bisect_right(state.events, behind, key=lambda entry: entry[0])
            end = bisect_left(state.events, (before, 0), key=lambda entry: entry[0])
            page = state.events[start : min(end, start + limit)]
            wanted = [
                (f"{at}-{count}", encode_event(event).decode())
                for (at, count), event in page
                if state.runs.get(event.id.run_id, at + 1) <= at
            ]
            more = len(page) == limit
            last = f"{page[-1][0][0]}-{page[-1][0][1]}" if more else border
            return OldEvents(wanted, last, more, oldest)

    def set_spilled(self, shard: int, last: str) -> None:
        with self._lock:
            state = self._shards[shard]
            state.spilled = max(state.spilled, cursor_of(last))
            self.wrote("set_spilled", last)

    def take_turn(self, sweep: str, life: int) -> bool:
        with self._lock:
            now = self.now()
            taken = self._turns.get(sweep, 0) <= now
            if taken:
                self._turns[sweep] = now + life
            self.wrote("take_turn", sweep)
        return taken

    def installation(self) -> str:
        return self._installation


def _over(state: Shard, run: RunId, before: int) -> bool:
    """Tell whether no action of a run is live, and its roots ended before that time."""
    counters = state.counters.get(run, {})
    if any(counters.get(phase, 0) > 0 for phase in _LIVE):
        return False
    roots = [member[1:] for member in state.tree.get(run, ()) if member.startswith("/")]
    return all(state.done.get(str(run.action(root)), 0) < before for root in roots)


def _raw(state: Shard, action: TaskAction, shared: dict[str, str]) -> RawAction:
    """Write an ended action as the archive stores it; its shared part is added to those of the run."""
    fields, name, part = records.encode_stored(action)
    shared[name.decode()] = part.decode()
    events = [event_at(state, cursor) for cursor in state.records[str(action.id)].kept]
    return RawAction(
        action.id.action,
        state.done.get(str(action.id), 0),
        {letter.decode(): value.decode() for letter, value in fields.items()},
        [encode_event(event).decode() for event in events if event is not None],
    )

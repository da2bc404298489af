"""The verbs of the archive, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.api.action import RunId
from reconciler.api.phase import ActionPhase
from reconciler.core.ordering import natural_page
from reconciler.stores.archiving import RawAction, RawRun, SealedRun
from reconciler.stores.changes import event_ids
from reconciler.stores.memory.looking import at_cursor
from reconciler.stores.memory.state import MemoryCore, Shard, parse

_LIVE = [str(int(phase)) for phase in ActionPhase if not phase.is_terminal()]


class Archiving(MemoryCore):
    """seal, recall, set_archived."""

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
            return RawRun(
                run,
                state.incarnations.get(run, ""),
                state.runs[run],
                {name.decode(): part.decode() for name, part in state.shared.get(run, {}).items()},
                [_raw(state, run, name) for name in names],
            )

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


def _over(state: Shard, run: RunId, before: int) -> bool:
    """Tell whether no action of a run is live, and its roots ended before that time."""
    counters = state.counters.get(run, {})
    if any(counters.get(phase, 0) > 0 for phase in _LIVE):
        return False
    roots = [member[1:] for member in state.tree.get(run, ()) if member.startswith("/")]
    return all(state.done.get(str(run.action(root)), 0) < before for root in roots)


def _raw(state: Shard, run: RunId, name: str) -> RawAction:
    path = str(run.action(name))
    fields = state.records[path]
    events = [at_cursor(state, cursor) for cursor in event_ids(fields.get(b"e"))]
    return RawAction(
        name,
        state.done.get(path, 0),
        {letter.decode(): value.decode() for letter, value in fields.items()},
        [event.decode() for event in events if event is not None],
    )

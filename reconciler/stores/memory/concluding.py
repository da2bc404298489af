"""The twin: attempts that end together with their steps: finished, claimed and committed, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reconciler.api.action import ActionId
from reconciler.stores.base import CommitOutcome
from reconciler.stores.concluding import Concluded, ConcludeReport, Ending
from reconciler.stores.memory.attempts import Attempts
from reconciler.stores.memory.record import copied
from reconciler.stores.memory.state import Shard
from reconciler.stores.memory.stepping import Decided, Stepping


class Concluding(Attempts, Stepping):
    """The verb of attempts that end with their steps."""

    def conclude(self, shard: int, owner: str, ends: Sequence[Concluded]) -> ConcludeReport:
        with self._lock:
            state = self._shards[shard]
            endings = [_ending(state, owner, one) for one in ends]
            fresh = [one for one, ending in zip(ends, endings, strict=True) if ending is None]
            now = self.now()
            drawn: dict[ActionId, int] = {}  # told twice in one call, it is written once
            for place, one in enumerate(fresh):
                if _as_drawn(state, owner, one, now):
                    drawn.setdefault(one.finished.action, place)
            writes = [fresh[place].write for place in drawn.values()]
            decided = [Decided.of(write) for write in writes if write is not None]
            taken = self.finish_attempts(shard, owner, [one.finished for one in fresh])
            found = iter(
                (Ending.WRITTEN if drawn.get(one.finished.action) == place else Ending.RECORDED)
                if taken[place]
                else Ending.SUPERSEDED
                for place, one in enumerate(fresh)
            )
            results = tuple(ending or next(found) for ending in endings)
            if drawn:
                self.claim(shard, owner=owner, limit=0, named=list(drawn))
            report, applied = self.decided(shard, decided)
            self.wrote("conclude", results)
        self.tell(applied)
        done = (CommitOutcome.DONE,) * results.count(Ending.WRITTEN)
        return ConcludeReport(results, msgspec.structs.replace(report, outcomes=done))


def _ending(shard: Shard, owner: str, one: Concluded) -> Ending | None:
    """Return the result if this very call was applied before, and its answer got lost on the way; else None."""
    record, finished, write = shard.records.get(str(one.finished.action)), one.finished, one.write
    if record is None or write is None or record.another_life(finished.incarnation):
        return None
    if record.runs(finished.launch, owner, finished.incarnation):
        return None
    before = write.original.version
    same = write.status and record.version == before + 1 and record.status == copied(write.action.status)
    return Ending.WRITTEN if same else None


def _as_drawn(shard: Shard, owner: str, one: Concluded, now: int) -> bool:
    """Tell whether a record is as it was drawn, but for what cannot change a decision: its lease, its progress."""
    record, finished, write = shard.records.get(str(one.finished.action)), one.finished, one.write
    if record is None or write is None or record.launch is None:
        return False
    if not record.runs(finished.launch, owner, finished.incarnation) or record.launch.outcome is not None:
        return False
    if record.held_until or record.woken_at or record.abandoned or record.stopping or record.has_children:
        return False
    if write.due and shard.due.get(str(record.id), now + 1) <= now:
        return False  # somebody wants it to be looked at now: an end serves that, another decision would put it off
    before = write.original
    known = (before.token - 1, before.version, before.metadata.finalizers)
    return (record.token, record.version, record.metadata.finalizers) == known

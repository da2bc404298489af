"""The twin: submitting."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from reconciler.api.action import ActionId, ActionSpec, RunId, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.core.events import first_event
from reconciler.stores.base import Created, CreateOutcome, CreateReport
from reconciler.stores.memory.record import Record
from reconciler.stores.memory.state import MemoryCore, Shard


class Creating(MemoryCore):
    """The verbs of submission."""

    def create(
        self, actions: Sequence[TaskAction], *, until: int = 0, quiet: bool = False, begins: str = ""
    ) -> CreateReport:
        with self._lock:
            now = self.now()
            new = [
                Record.new(action, now) for action in actions
            ]  # what cannot be stored spoils all, and nothing is
            late = 0 < until < now
            outcomes = tuple(self._create(one, now, begins, late=late) for one in new)
            created = [
                one
                for one, answer in zip(new, outcomes, strict=True)
                if answer.outcome is CreateOutcome.CREATED
            ]
            shards = dict.fromkeys(self.shard_of(one.id.run_id) for one in created if not _recovered(one))
            wake = tuple(shard for shard in shards if not quiet and self._shards[shard].need_message(now))
            self.wrote("create", outcomes)
        self.notify([one.id.run_id for one in created])
        return CreateReport(outcomes, wake)

    def would_create(self, actions: Sequence[TaskAction], *, begins: str = "") -> tuple[Created, ...]:
        with self._lock:
            admitted: set[ActionId] = set()
            begun: dict[RunId, str] = {}
            outcomes = []
            for action in actions:
                new = Record.new(action, self.now())
                answer = self._answer(new, begun.get(new.id.run_id, begins), admitted)
                if answer.outcome is CreateOutcome.CREATED:
                    admitted.add(new.id)
                    begun.setdefault(new.id.run_id, new.metadata.incarnation)
                outcomes.append(answer)
        return tuple(outcomes)

    def _answer(self, new: Record, begins: str, admitted: Collection[ActionId] = ()) -> Created:
        """Return the answer to a submission; `admitted` are those that would be stored before it."""
        shard, run = self.shard(new.id), new.id.run_id
        old, mine = shard.records.get(str(new.id)), new.metadata.incarnation
        there = shard.incarnations.get(run, begins or mine) if old is None else old.metadata.incarnation
        if there != mine:
            return Created(CreateOutcome.OTHER_INCARNATION, incarnation=there)
        if old is not None:
            differing = _differing(old.spec, new.spec)
            return Created(CreateOutcome.CONFLICT if differing else CreateOutcome.EXISTS, differing)
        if run in shard.sealed:
            return Created(CreateOutcome.SEALED)
        parent = new.spec.parent_action_name
        if parent and not _recovered(new) and run.action(parent) not in admitted:
            return Created(_below(shard.records.get(str(run.action(parent)))))
        return Created(CreateOutcome.CREATED)

    def _create(self, new: Record, now: int, begins: str, *, late: bool) -> Created:
        shard, run = self.shard(new.id), new.id.run_id
        answer = self._answer(new, begins)
        if answer.outcome is not CreateOutcome.CREATED:
            return answer
        if late:
            return Created(CreateOutcome.NOT_HELD)
        parent = new.spec.parent_action_name
        if parent:
            shard.count(run, f"t:{parent}", 1)
        if parent and not _recovered(new):
            shard.records[str(run.action(parent))].has_children = True
            shard.count(run, f"o:{parent}", 1)
        elif parent:
            shard.ended.setdefault(str(run.action(parent)), []).append(new.id.action)
        shard.incarnations.setdefault(run, new.metadata.incarnation)
        _store(shard, new, now)
        return answer


def _store(shard: Shard, new: Record, now: int) -> None:
    run, path = new.id.run_id, str(new.id)
    event = msgspec.structs.replace(first_event(new.view()), updated_time=now, reported_time=now)
    shard.publish(new, event, now)
    shard.records[path] = new
    if _recovered(new):
        shard.done[path] = now
    else:
        due = max(now, new.metadata.not_before)
        due = min(due, new.metadata.expires_at or due)
        if due <= now:
            shard.next.note(path, shard.due, now)
        shard.due[path] = due
    shard.tree.setdefault(run, set()).add(f"{new.spec.parent_action_name or ''}/{new.id.action}")
    shard.runs.setdefault(run, now)
    shard.count(run, str(int(new.phase)), 1)


def _differing(old: ActionSpec, new: ActionSpec) -> tuple[str, ...]:
    """Name the fields in which two specs differ, as the API writes them."""
    names = zip(ActionSpec.__struct_fields__, ActionSpec.__struct_encode_fields__, strict=True)
    return tuple(sorted(written for name, written in names if getattr(old, name) != getattr(new, name)))


def _below(parent: Record | None) -> CreateOutcome:
    """Return the answer to a submission below this record."""
    if parent is None:
        return CreateOutcome.PARENT_MISSING
    if parent.ended or parent.metadata.deletion is not None:
        return CreateOutcome.PARENT_ENDED
    return CreateOutcome.CREATED


def _recovered(record: Record) -> bool:
    """Tell whether the action is recovered: it has ended before it began."""
    return record.phase is ActionPhase.RECOVERED

"""Mistakes to be found: each takes one guard out of the twins, as a careless change would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

import msgspec

from reconciler.api.action import AttemptRecord
from reconciler.api.phase import ActionPhase
from reconciler.api.tokens import FencingToken
from reconciler.archive.deleting import Deleter
from reconciler.children import starting, values
from reconciler.children.starting import Starting
from reconciler.children.values import Values
from reconciler.core.children import generation
from reconciler.core.layout import Part
from reconciler.plugins import windowed
from reconciler.stores import placing
from reconciler.stores.base import CommitOutcome, CreateOutcome
from reconciler.stores.launch_fence import NO_FENCE
from reconciler.stores.memory import attempts, concluding, creating, lines, queries, stepping
from reconciler.stores.memory.archiving import Archiving as MemoryArchiving
from reconciler.stores.memory.attempts import Attempts
from reconciler.stores.memory.catalog import MemoryCatalog
from reconciler.stores.memory.creating import Creating
from reconciler.stores.memory.heads import Heads
from reconciler.stores.memory.holding import Holding
from reconciler.stores.memory.next import Next
from reconciler.stores.memory.quotas import _Resource
from reconciler.stores.memory.record import Launch, Record
from reconciler.stores.memory.state import Shard
from reconciler.stores.memory.stepping import Decided, Stepping
from reconciler.sweeps import archive, objects
from tests.simulation.scheduler import NEVER
from worker.attempts import packs
from worker.attempts.attempt import Attempt
from worker.attempts.batch import Batch

resync_module = import_module("reconciler.sweeps.resync")
round_module = import_module("reconciler.controller.round")
Planted = tuple[object, str, Any]
"""Where, which attribute, and what it is replaced by."""

_apply = Stepping._apply
_look_again = attempts._look_again
_put_back = lines._put_back
_need_ticket = Heads.need_ticket
_serve = Heads.serve
_batch_look = Batch._look
_batch_made = Batch._made
_wake = Shard.wake
_leave = Shard.leave
_release = MemoryCatalog.release_reservation
_put = MemoryCatalog.put
_remove = objects._remove
_seal = MemoryArchiving.seal
_child_name = starting.child_name
_names = Starting._names
_keep_step = Attempts.keep_step
_detached = Starting.detached
_ended_child_wakes = Stepping._ended_child_wakes
_view = Launch.view
_answer = Creating._answer
_note_next = Next.note
_FAILED = {ActionPhase.FAILED, ActionPhase.ABORTED, ActionPhase.TIMED_OUT}
_passes: dict[str, int] = {}


def _sealed_as_archived(store: MemoryArchiving, shard: int, **given: Any) -> Any:
    found = _seal(store, shard, **given)
    store._shards[shard].sealed.update({sealed.run: True for sealed in found[0]})
    return found


def _any_token(shard: Shard, decided: Decided, now: int) -> CommitOutcome:
    record = shard.records.get(decided.path)
    if record is not None:
        record.token = decided.write.action.token
        record.held_until = record.held_until or 1
    return _apply(shard, decided, now)


def _not_due(shard: Shard, decided: Decided, now: int) -> CommitOutcome:
    outcome = _apply(shard, decided, now)
    if outcome is CommitOutcome.DONE and decided.write.status:
        shard.due.pop(decided.path, None)
    return outcome


def _without_cascade(shard: Shard, decided: Decided, now: int) -> CommitOutcome:
    above = shard.records.get(decided.path)
    marked = above is not None and decided.ends and above.has_children
    if above is not None and marked:
        above.has_children = False
    outcome = _apply(shard, decided, now)
    if above is not None and marked:
        above.has_children = True
    return outcome


def _foreign_release(self: MemoryCatalog, key: Any, owner: str) -> tuple[str, ...]:
    slot = self._slots.get(key.digest)
    return _release(self, key, slot.held.owner if slot is not None and slot.held is not None else owner)


def _foreign_put(self: MemoryCatalog, key: Any, outputs: Any, source: Any, **options: Any) -> tuple[str, ...]:
    slot = self._slot(key)
    if options.get("token"):
        options["token"] = slot.newest_token
    return _put(self, key, outputs, source, **options)


def _deaf_while_held(self: Shard, path: str, at: int, now: int) -> None:
    if not self.records[path].held(now):
        _wake(self, path, at, now)


def _anybody_reports(record: Record | None, launch: str, owner: str, incarnation: str) -> Launch | None:
    del launch, owner, incarnation
    taken = record is not None and not record.ended and record.launch is not None and record.launch.owner
    return record.launch if record is not None and taken else None


def _drawn_and_standing(self: Shard, path: str, line: str) -> None:
    place = self.lines.get(line, {}).get(path)
    _leave(self, path, line)
    record = self.records.get(path)
    if place is not None and record is not None and record.launch is not None and not record.ended:
        self.lines.setdefault(line, {})[path] = place
        record.launch.line = line


def _in_no_line(self: Shard, path: str, line: str, place: int) -> str:
    launch = self.records[path].launch
    assert launch is not None
    launch.line, launch.place = line, place
    return "" if line in self.lines else line


def _concluded_by_anybody(shard: Shard, owner: str, one: Any, now: int) -> bool:
    """Take the decision for one about the record as it is, whoever has the launch, and whatever has been decided since."""
    del owner, now
    record = shard.records.get(str(one.finished.action))
    if record is None or record.ended or record.launch is None or one.write is None:
        return False
    record.held_until = 0
    one.write.action.token, one.write.original.version = FencingToken(record.token + 1), record.version
    one.write.original.metadata = record.metadata
    return True


def _anybodys(record: Record | None, owner: str, one: Any) -> bool:
    return _anybody_reports(record, one.launch, owner, one.incarnation) is not None


def _due_as_before(shard: Shard, path: str, line: str, now: int) -> str:
    launch = shard.records[path].launch
    look = launch.look_at if launch is not None else 0
    opened = _put_back(shard, path, line, now)
    shard.due.pop(path, None)
    if look:
        shard.due[path] = look
    return opened


def _run_all_the_same(self: Batch) -> float | None:
    waiting = list(self._waiting)
    again = _batch_look(self)
    self._waiting.extend(attempt for attempt in waiting if attempt not in self._waiting)
    return again


def _all_that_waits(self: Batch) -> list[Attempt]:
    back = list(self._waiting)
    self._waiting.clear()
    return back


def _served_for_nothing(self: Heads, one: Any) -> None:
    _serve(self, msgspec.structs.replace(one, cost=0.0))


def _only_by_priority(self: Heads, for_me: Callable[[str], bool], now: int) -> None:
    del self, for_me, now


def _ticket_for_ever(self: Heads, now: int) -> bool:
    needed = _need_ticket(self, now)
    self.ticket_until = NEVER if needed else self.ticket_until
    return needed


def _handed_back_and_forgotten(shard: Shard, path: str, at: int, now: int) -> None:
    _look_again(shard, path, at, now)
    shard.due.pop(path, None)


def _too_much(self: _Resource, quota: int) -> int:
    del self
    return quota


def _inputs_only(blobs: Any, action: Any, folders: Any) -> Any:
    return _remove(blobs, action, folders[1:])


def _same_folder(run: Any, incarnation: str) -> str:
    del incarnation
    return str(run)


def _any_life(shard: Shard, decided: Decided, now: int) -> CommitOutcome:
    record, original = shard.records.get(decided.path), decided.write.original.copy()
    if record is not None:
        original.set_metadata(incarnation=record.metadata.incarnation)
    write = msgspec.structs.replace(decided.write, original=original)
    return _apply(shard, replace(decided, write=write), now)


def _in_each_pass_anew(parent: str, stem: str, digest: str, asked: int) -> str:
    _passes[parent] = _passes.get(parent, 0) + 1
    return _child_name(parent, stem, f"{digest}{_passes[parent]}", asked)


def _anew_at_once(self: Starting, wanted: Any) -> list[str]:
    names = _names(self, wanted)
    found = self._client.store.get_many([self._parent.id.run_id.action(name) for name in names])
    over = [one is not None and one.phase in _FAILED for one in found]
    return [generation(name, 9) if failed else name for name, failed in zip(names, over, strict=True)]


def _apart_in_each_pass_anew(self: Starting, request: Any, name: str) -> Any:
    _passes[name] = _passes.get(name, 0) + 1
    return _detached(self, request, f"{name}{_passes[name]}")


def _last_value_stands(self: Attempts, action: Any, launch: str, **given: Any) -> bytes | None:
    kept = _keep_step(self, action, launch, **given)
    if kept is None:
        return None
    self.shard(action).steps[str(action)][given["name"]] = given["value"]
    return bytes(given["value"])


def _wakes_when_it_has_not_suspended(shard: Shard, parent: str, now: int) -> None:
    record = shard.records.get(parent)
    if record is None or record.launch is None or record.launch.outcome is None:
        _ended_child_wakes(shard, parent, now)


def _below_anything(parent: Record | None) -> CreateOutcome:
    return CreateOutcome.PARENT_MISSING if parent is None else CreateOutcome.CREATED


def _root_first(shard: Shard, path: str) -> bool:
    del shard, path
    return False


def _drawn_with_whomever(self: Launch, *, in_line: bool) -> AttemptRecord:
    return msgspec.structs.replace(_view(self, in_line=in_line), drawn_with=2)


def _unseen_lease(record: Record, decided: Decided) -> int:
    due, woken = decided.write.due, record.woken_at
    return min(due, woken) if woken and due else due


def _without_bound(config: Any, open_: int) -> int:
    del open_
    return int(config.expected)


def _not_held(self: Holding, source: Any, holder: Any, life: int, *, archived: bool = False) -> int:
    del source, holder, archived
    return self.now() + life


def _not_taken_back(self: Deleter, rows: Any) -> int:
    del self, rows
    return 0


def _next_instead_of_due(self: Next, path: str, due: Any, now: int) -> None:
    _note_next(self, path, due, now)
    if path in self.since:
        due.pop(path, None)


def _referred_to_first(self: Batch, ended: Any) -> None:
    parcels = packs.parcels_of(self._engine, ended)
    for parcel in parcels:
        for attempt, uri in parcel.parts:
            attempt.write(uri)
    self._report([attempt for attempt in ended if not attempt.beat.superseded])
    self._made([(parcel.uri, parcel.data) for parcel in parcels])


def _taken_for_written(self: Batch, made: Any) -> list[bool]:
    _batch_made(self, made)
    return [True] * len(made)


def _off_by_one(pack: str, first: int, size: int) -> Part:
    return Part(pack, first and first - 1, size)


def _begins_anywhere(self: Creating, new: Record, begins: str, admitted: Any = ()) -> Any:
    del begins
    return _answer(self, new, "", admitted)


MISTAKES: dict[str, Planted] = {
    "commit without a look at the token": (Stepping, "_apply", staticmethod(_any_token)),
    "due entry not written": (Stepping, "_apply", staticmethod(_not_due)),
    "reservation released without a look at the owner": (
        MemoryCatalog,
        "release_reservation",
        _foreign_release,
    ),
    "entry put under a lost reservation": (MemoryCatalog, "put", _foreign_put),
    "wake-up lost while a step holds the action": (Shard, "wake", _deaf_while_held),
    "outcome taken from anybody": (attempts, "_ours", _anybody_reports),
    "decision taken with an outcome from anybody": (concluding, "_as_drawn", _concluded_by_anybody),
    "launch drawn, and still in its line": (Shard, "leave", _drawn_and_standing),
    "launch in no line": (Shard, "enter", _in_no_line),
    "launch given back by anybody": (lines, "_is_drawn", _anybodys),
    "launch given back, and a request for a look forgotten": (lines, "_put_back", _due_as_before),
    "launch given back, and run all the same": (Batch, "_look", _run_all_the_same),
    "launch given back that has begun before its turn": (Batch, "_not_begun", _all_that_waits),
    "line without a ticket": (resync_module, "_send_tickets", lambda *_: 0),
    "ticket taken for one that is on its way for ever": (Heads, "need_ticket", _ticket_for_ever),
    "fair key starved": (Heads, "serve", _served_for_nothing),
    "low priority starved": (Heads, "_aged", _only_by_priority),
    "launch handed back and looked at no more": (attempts, "_look_again", _handed_back_and_forgotten),
    "end above open children owes nothing": (Stepping, "_apply", staticmethod(_without_cascade)),
    "quota given out twice": (_Resource, "free", _too_much),
    "outputs stay when their action is forgotten": (objects, "_remove", _inputs_only),
    "run forgotten before it is indexed": (archive, "write_rows", lambda *_: set()),
    "run forgotten before it is archived": (MemoryArchiving, "seal", _sealed_as_archived),
    "a run lies where an earlier one of its name did": (placing, "run_folder", _same_folder),
    "commit to a later run of the same name": (Stepping, "_apply", staticmethod(_any_life)),
    "tree forgotten from above": (queries, "_is_above", _root_first),
    "child under another name in each pass": (starting, "child_name", _in_each_pass_anew),
    "failed child started anew in a replay": (Starting, "_names", _anew_at_once),
    "last value of a step stands": (Attempts, "keep_step", _last_value_stands),
    "wait that was given up forgotten": (Values, "given_up", lambda _: {}),
    "run of its own started anew in each pass": (Starting, "detached", _apart_in_each_pass_anew),
    "values stay when a function starts over": (values, "times_over", lambda _: 0),
    "suspended parent not woken": (
        Stepping,
        "_ended_child_wakes",
        staticmethod(_wakes_when_it_has_not_suspended),
    ),
    "forgotten incarnation begins again": (Creating, "_answer", _begins_anywhere),
    "child accepted below an end": (creating, "_below", _below_anything),
    "lost launch taken for one of several": (Launch, "view", _drawn_with_whomever),
    "a map starts more than may be open": (windowed, "_room", _without_bound),
    "source of a run that is made of it not held": (Holding, "hold", _not_held),
    "deletion not heeded by who archives": (Deleter, "take_back", _not_taken_back),
    "outputs written after the commit that points to them": (Batch, "_write", _referred_to_first),
    "outputs pointed to that nobody could write": (Batch, "_made", _taken_for_written),
    "range of a pack off by one": (packs, "Part", _off_by_one),
    "noted as next instead of due": (Next, "note", _next_instead_of_due),
    "request for a look dropped by a commit": (stepping, "_due_after", _unseen_lease),
    "expired in a line, and nobody looks": (round_module, "begun", lambda _: True),
    "expired launch drawn": (lines, "_expired", lambda *_: False),
    "launch given up, whoever has it": (stepping, "fence_of", lambda _: NO_FENCE),
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Make one of the mistakes for a while."""
    where, attribute, mistake = MISTAKES[name]
    before: Callable[..., Any] = vars(where)[attribute]
    setattr(where, attribute, mistake)
    try:
        yield
    finally:
        setattr(where, attribute, before)

"""The promises, checked after each write and at the end of a story.

`Observer` looks at the twin itself, after each write: what a reader could see must be right at every moment. What is left
when all is over, and what the outside world remembers, is looked at in `ending.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.api.action import ActionId
from reconciler.api.event import ActionEvent
from reconciler.api.phase import TRANSITIONS, ActionPhase
from reconciler.api.template import template_or_none
from reconciler.stores import records
from reconciler.stores.memory.state import Shard, held, number
from reconciler.stores.memory.store import MemoryStore

if TYPE_CHECKING:
    from reconciler.stores.records import Fields

_LOOKS_ONLY = frozenset({"look", "nudge", "record_audit", "trim_events"})
_COUNTING = frozenset({"create", "commit", "request_abort", "collect"})
"""Verbs that may change counters, or what they count."""


class Violation(BaseException):
    """A promise is broken. No `Exception`, so that no product code takes it for one of its own."""


class Life:
    """What was seen of one action from its acceptance to its collection.

    Attributes:
        phase: newest action phase of its record.
        version: newest version of its record.
        sequence: of its newest event.
        moved: phase its events tell of.
        final: its terminal event.
        wishes: how many kinds of news its record holds that a step has to look at: abort, signal, outcome.
        unseen: whether some of it came after the newest claim.
    """

    def __init__(self) -> None:
        self.phase = ActionPhase.QUEUED
        self.version = 0
        self.sequence = 0
        self.moved = ActionPhase.QUEUED
        self.final: ActionEvent | None = None
        self.wishes = 0
        self.unseen = False


class Observer:
    """Called after each write of the twin.

    Attributes:
        lives: of the actions that are stored, by path.
        ends: terminal events of all actions there ever were, in order.
        granted: worker each launch was given to.
        cached: paths of the actions there ever were whose tasks are cached.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._read = [(0, -1)] * store.shards
        self.lives: dict[str, Life] = {}
        self.ends: dict[str, list[ActionEvent]] = {}
        self.granted: dict[tuple[str, str], str] = {}
        self.cached: set[str] = set()
        self.writes = 0

    def __call__(self, verb: str, detail: Any) -> None:
        """Look at everything a write may have touched."""
        if verb in _LOOKS_ONLY:
            return
        self.writes += 1
        self._look(verb)
        match verb:
            case "claim":
                for action in detail[1]:
                    self.lives[str(action)].unseen = False
            case "start_attempt":
                self._started(*detail)
            case "finish_attempt":
                self._finished(*detail)
            case "decline_attempt":
                self._declined(*detail)
            case "collect":
                for action in detail:
                    self._forgotten(action)
            case _:
                pass

    def _look(self, verb: str) -> None:
        for index, shard in enumerate(self._store._shards):
            if shard.records or shard.due:
                self._events(index, shard)
                self._records(shard)
                if verb in _COUNTING:
                    _counters(shard)

    # -- records ---------------------------------------------------------------------------------------------------
    def _records(self, shard: Shard) -> None:
        now, due = self._store.now(), shard.due
        for path, fields in shard.records.items():
            life = self.lives.get(path)
            if life is None:
                life = self.lives[path] = Life()
            version = number(fields, b"v")
            if version != life.version:
                if not life.version:
                    self._met(path)
                self._changed(path, life, fields, version)
            wishes = (b"d" in fields) + (b"g" in fields) + (b"ar" in fields)
            if wishes != life.wishes:
                life.unseen = life.unseen or wishes > life.wishes
                life.wishes = wishes
            _looked_at(path, life, fields, due.get(path), now)
        if len(due) > len(shard.records) or not due.keys() <= shard.records.keys():
            raise Violation(f"due without a record: {sorted(due.keys() - shard.records.keys())}")

    def _met(self, path: str) -> None:
        record = self._store.get(ActionId.parse(path))
        template = template_or_none(record) if record is not None else None
        if template is not None and template.metadata is not None and template.metadata.discoverable:
            self.cached.add(path)

    def _changed(self, path: str, life: Life, fields: Fields, version: int) -> None:
        phase = ActionPhase(number(fields, b"p", 1))
        _ensure(version == life.version + 1, f"{path}: version {life.version} was followed by {version}")
        legal = phase is life.phase or phase in TRANSITIONS[life.phase]
        # attempts may pass through a phase without an event of their own: the record shows the last one of a round
        _ensure(legal, f"{path}: {life.phase} became {phase}")
        total = records.event_count(fields.get(b"e"))
        _ensure(
            total == life.sequence, f"{path}: {total} events by its record, {life.sequence} in the channel"
        )
        _ensure(phase is life.moved, f"{path}: the record says {phase}, its events {life.moved}")
        life.version, life.phase = version, phase
        parent = fields.get(b"r")
        if phase.is_terminal() and parent is None:
            _ensure(life.final is not None, f"{path} ended without a terminal event")

    # -- events ----------------------------------------------------------------------------------------------------
    def _events(self, index: int, shard: Shard) -> None:
        seen = self._read[index]
        fresh = []
        for cursor, data in reversed(shard.events):
            if cursor <= seen:
                break
            fresh.append(data)
        if not fresh:
            return
        self._read[index] = shard.last_cursor
        for data in reversed(fresh):
            self._event(records.decode_event(data))

    def _event(self, event: ActionEvent) -> None:
        path = str(event.id)
        life = self.lives.setdefault(path, Life())
        _ensure(
            event.sequence == life.sequence + 1,
            f"{path}: event {life.sequence} was followed by {event.sequence} ({event.phase})",
        )
        _ensure(life.final is None, f"{path}: {event.phase} after its end")
        life.sequence = event.sequence
        between = event.phase in {ActionPhase.FAILED, ActionPhase.TIMED_OUT} and not event.final
        moved = ActionPhase.QUEUED if between else event.phase
        legal = moved is life.moved or moved in TRANSITIONS[life.moved]
        _ensure(legal, f"{path}: its events go from {life.moved} to {moved}")
        _ensure(
            event.final == (event.phase.is_terminal() and not between),
            f"{path}: {event.phase} is called final",
        )
        life.moved = moved
        if event.final:
            life.final = event
            self.ends.setdefault(path, []).append(event)

    # -- attempts --------------------------------------------------------------------------------------------------
    def _started(self, action: ActionId, launch: str, owner: str) -> None:
        key = (str(action), launch)
        _ensure(key not in self.granted, f"{key} was started by {self.granted.get(key)} and again by {owner}")
        self.granted[key] = owner

    def _finished(self, action: ActionId, launch: str, owner: str) -> None:
        fields = self._store.shard(action).records[str(action)]
        current = (fields[b"n"].decode(), fields[b"ao"].decode())
        _ensure(current == (launch, owner), f"{action}: {owner} reported {launch} and {current} is at work")
        _ensure(b"OutputsExist" not in fields[b"ar"], f"{action}: {launch} found what another one left")

    def _declined(self, action: ActionId, launch: str, owner: str) -> None:
        holder = self.granted.pop((str(action), launch), None)
        _ensure(holder == owner, f"{action}: {owner} handed back {launch} and {holder} is at work")

    def _forgotten(self, action: ActionId) -> None:
        path = str(action)
        life = self.lives.pop(path)
        _ensure(life.final is not None, f"{path} was forgotten before its end")
        for key in [key for key in self.granted if key[0] == path]:
            del self.granted[key]


def _looked_at(path: str, life: Life, fields: Fields, due: int | None, now: int) -> None:
    """Somebody will look at what lives or owes something, in time, and nobody at the rest."""
    if life.phase.is_terminal():
        owes = b"f" in fields
        if owes != (due is not None):
            raise Violation(
                f"{path} has ended, {'owes clean-up' if owes else 'owes nothing'}, and is due: {due}"
            )
    elif due is None:
        waits_for_a_person = b"y" in fields and life.phase is ActionPhase.PAUSED
        if not waits_for_a_person or life.wishes:
            raise Violation(f"{path} is {life.phase} and nobody will look at it")
    elif life.unseen and due > now and not held(fields, now):
        raise Violation(f"{path}: an abort, a signal or an outcome came, and nobody looks before {due}")


def _counters(shard: Shard) -> None:
    """The counters of runs and parents are what the records say; no child lives on above an end that owes nothing."""
    found: dict[Any, dict[str, int]] = {run: {} for run in shard.counters}
    for path, fields in shard.records.items():
        action = ActionId(*path.split("/"))
        counts = found.setdefault(action.run_id, {})
        phase = fields.get(b"p", b"1").decode()
        counts[phase] = counts.get(phase, 0) + 1
        if b"r" not in fields:
            continue
        ended = ActionPhase(int(phase)).is_terminal()
        parent = fields[b"r"].decode()
        counts[f"o:{parent}"] = counts.get(f"o:{parent}", 0) + (not ended)
        if not ended:
            above = shard.records.get(str(action.run_id.action(parent)))
            _ensure(above is not None, f"{path} lives on below nothing")
            assert above is not None
            over = ActionPhase(number(above, b"p", 1)).is_terminal()
            _ensure(
                not over or b"f" in above or b"d" in fields, f"{path} lives on below an end that owes nothing"
            )
    for run, counts in found.items():
        stored = {k: n for k, n in shard.counters.get(run, {}).items() if n and k[:2] not in {"t:", "f:"}}
        _ensure(
            stored == {k: n for k, n in counts.items() if n}, f"{run}: counted {stored}, there are {counts}"
        )


def _ensure(holds: bool, text: str) -> None:  # noqa: FBT001  # as an assert, for which -O has no meaning
    if not holds:
        raise Violation(text)

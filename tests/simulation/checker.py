"""The promises, checked after each write and at the end of a story.

`Observer` looks at the twin itself, after each write: what a reader could see must be right at every moment. What is left
when all is over, and what the outside world remembers, is looked at in `ending.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconciler.api.action import SUSPENDED, ActionId, AttemptOutcome
from reconciler.api.event import ActionEvent
from reconciler.api.phase import TRANSITIONS, ActionPhase
from reconciler.api.template import template_or_none
from reconciler.core.progress import begun
from reconciler.core.retries import WORKER_LOST
from reconciler.plugins.group_config import config_of
from reconciler.stores.holds import RunLife
from reconciler.stores.memory.record import Record
from reconciler.stores.memory.state import Shard
from reconciler.stores.memory.store import MemoryStore
from tests.simulation.turns import Turns

_LOOKS_ONLY = frozenset({"look", "nudge", "record_audit", "trim_events", "announce"})
_SOON = 30_000
"""When a round looks again that met a server that does not answer, ms."""
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
        requests: how many kinds of news its record holds that a step has to look at: abort, signal, outcome.
        unseen: whether some of it came after the newest claim.
        failures: system failures it was charged with.
        incarnation: of its run.
    """

    def __init__(self) -> None:
        self.phase = ActionPhase.QUEUED
        self.version = 0
        self.sequence = 0
        self.moved = ActionPhase.QUEUED
        self.final: ActionEvent | None = None
        self.requests = 0
        self.unseen = False
        self.failures = 0
        self.incarnation = ""


class Observer:
    """Called after each write of the twin.

    Attributes:
        lives: of the actions that are stored, by path.
        ends: terminal events of all actions there ever were, in order.
        granted: worker each launch was given to.
        together: how many were drawn with a launch, itself among them.
        returned: launches that were given back, and by whom.
        begun: launches some worker has begun to run.
        keeps: whether the archive has a run, `project/domain/run@incarnation`, that was deleted.
        cached: paths of the actions there ever were whose tasks are cached.
        forgotten: path and incarnation of those that were collected, with what was seen of each.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.keeps: Callable[[str], bool] = lambda _: False
        self._read = [(0, -1)] * store.shards
        self.lives: dict[str, Life] = {}
        self.ends: dict[str, list[ActionEvent]] = {}
        self.granted: dict[tuple[str, str], str] = {}
        self.together: dict[tuple[str, str], int] = {}
        self.returned: set[tuple[str, str, str]] = set()
        self.begun: set[tuple[str, str]] = set()
        self.cached: set[str] = set()
        self._windows: dict[str, int] = {}
        self.forgotten: dict[tuple[str, str], list[Life]] = {}
        self.writes = 0
        self._turns = Turns(store)

    def __call__(self, verb: str, detail: Any) -> None:
        """Look at everything a write may have touched."""
        if verb in _LOOKS_ONLY:
            return
        if verb == "pick":
            starved = self._turns.picked(*detail)
            _ensure(not starved, starved)
            return
        self.writes += 1
        self._look(verb)
        look = getattr(self, f"_after_{verb}", None)
        if look is not None:
            look(detail)

    def _after_claim(self, detail: Any) -> None:
        for action in detail[1]:
            self.lives[str(action)].unseen = False

    def _after_draw(self, detail: Any) -> None:
        owner, drawn = detail
        for action in drawn:
            self._started(action, owner, len(drawn))

    def _after_give_back(self, detail: Any) -> None:
        owner, given = detail
        for action, launch in given:
            self._given_back(action, launch, owner)

    def _after_finish_attempts(self, detail: Any) -> None:
        owner, reports, recorded = detail
        for (action, launch), taken in zip(reports, recorded, strict=True):
            if taken:
                self._finished(action, launch, owner)

    def _after_decline_attempt(self, detail: Any) -> None:
        self._declined(*detail)

    def _after_set_archived(self, detail: Any) -> None:
        """Note that the store may forget the run from now on, and that only the archive remembers it then."""
        for sealed in detail:
            life = str(RunLife(sealed.run, sealed.incarnation))
            _ensure(not self.keeps(life), f"{life} is archived, and somebody was told that it is deleted")

    def _after_collect(self, detail: Any) -> None:
        for action in detail:
            self._forgotten(action)

    def _look(self, verb: str) -> None:
        for index, shard in enumerate(self._store._shards):
            if shard.records or shard.due:
                self._events(index, shard)
                self._records(shard)
                if verb in _COUNTING:
                    _counters(shard)
                    self._rooms(shard)

    def _rooms(self, shard: Shard) -> None:
        """Check that no more members of a map are open than allowed."""
        for path in self._windows.keys() & shard.records.keys():
            open_ = shard.children(ActionId.parse(path)).open
            _ensure(
                open_ <= self._windows[path], f"{path} has {open_} open members, {self._windows[path]} may be"
            )

    # -- records ---------------------------------------------------------------------------------------------------
    def _records(self, shard: Shard) -> None:
        now, due = self._store.now(), shard.due
        for path, record in shard.records.items():
            life = self.lives.get(path)
            if life is None:
                life = self.lives[path] = Life()
            if record.version != life.version:
                if not life.version:
                    self._met(path, life)
                self._changed(path, life, record)
                self._charged(path, life, record)
            outcome = record.launch.outcome if record.launch is not None else None
            news = (record.metadata.deletion, record.signal, outcome)
            requests = sum(one is not None for one in news)
            if requests != life.requests:
                life.unseen = life.unseen or requests > life.requests
                life.requests = requests
            _looked_at(path, life, record, due.get(path), now)
            if record.metadata.expires_at and not record.ended:
                self._expires(path, record, due.get(path, 0))
            _stands(path, record, shard, now)
            if outcome is not None and outcome.ended == SUSPENDED:
                self._wakes(path, record, outcome, shard.due.get(path, 0) - _SOON)
        if len(due) > len(shard.records) or not due.keys() <= shard.records.keys():
            raise Violation(f"due without a record: {sorted(due.keys() - shard.records.keys())}")

    def _expires(self, path: str, record: Record, due: int) -> None:
        """Check that somebody looks, in time, at what has to begin by then and has not."""
        now, action = self._store.now(), self._store.get(record.id)
        if due <= now or record.held(now) or action is None or begun(action):
            return
        late = due > record.metadata.expires_at and record.status.error_state is None
        _ensure(not late, f"{path} expires at {record.metadata.expires_at}, and nobody looks before {due}")

    def _wakes(self, path: str, record: Record, outcome: AttemptOutcome, due: int) -> None:
        """Check that a suspended parent wakes at its time, and at once when all it waits for has ended."""
        now = self._store.now()
        if due <= now or record.held(now) or record.ended:
            return
        if record.status.error_state is not None:  # rounds that failed are followed by a back-off
            return
        if outcome.until:
            _ensure(
                due <= outcome.until, f"{path} sleeps until {outcome.until}, and nobody looks before {due}"
            )
        if 0 < outcome.waits_for <= len(outcome.waits):
            records = self._store.shard(record.id).records
            below = [records.get(str(record.id.run_id.action(name))) for name in outcome.waits]
            all_over = all(one is None or one.ended for one in below)
            _ensure(
                not all_over, f"{path} waits for {outcome.waits}, all ended, and nobody looks before {due}"
            )

    def _met(self, path: str, life: Life) -> None:
        record = self._store.get(ActionId.parse(path))
        life.incarnation = record.metadata.incarnation if record is not None else ""
        template = template_or_none(record) if record is not None else None
        if template is not None and template.metadata is not None and template.metadata.discoverable:
            self.cached.add(path)
        config = config_of(record.spec) if record is not None else None
        if config is not None and config.concurrency:
            self._windows[path] = config.concurrency
        else:
            self._windows.pop(path, None)

    def _changed(self, path: str, life: Life, record: Record) -> None:
        phase, version, total = record.phase, record.version, record.events
        _ensure(version == life.version + 1, f"{path}: version {life.version} was followed by {version}")
        taken_over = version == 1 and phase is ActionPhase.RECOVERED
        legal = phase is life.phase or phase in TRANSITIONS[life.phase] or taken_over
        # attempts may pass through a phase without an event of their own: the record shows the last one of a round
        _ensure(legal, f"{path}: {life.phase} became {phase}")
        _ensure(
            total == life.sequence, f"{path}: {total} events by its record, {life.sequence} in the channel"
        )
        _ensure(phase is life.moved, f"{path}: the record says {phase}, its events {life.moved}")
        if phase is ActionPhase.SUCCEEDED and path in self._windows:
            open_ = self._store.shard(record.id).children(record.id).open
            _ensure(not open_, f"{path} takes itself for done, and {open_} of its members are open")
        life.version, life.phase = version, phase
        if phase.is_terminal() and record.spec.parent_action_name is None:
            _ensure(life.final is not None, f"{path} ended without a terminal event")

    def _charged(self, path: str, life: Life, record: Record) -> None:
        """Check that a worker's death is charged to the launch it ran, not to those it had only drawn."""
        failures, error = record.status.total_system_failures, record.status.error_state
        if failures > life.failures and error is not None and error.code == WORKER_LOST:
            lost = (path, record.launch.name if record.launch is not None else "")
            only_drawn = self.together.get(lost, 1) > 1 and lost not in self.begun
            _ensure(
                not only_drawn, f"{path}: {lost[1]} was never begun, and its lost worker is charged to it"
            )
        life.failures = failures

    # -- events ----------------------------------------------------------------------------------------------------
    def _events(self, index: int, shard: Shard) -> None:
        seen = self._read[index]
        fresh = []
        for cursor, event in reversed(shard.events):
            if cursor <= seen:
                break
            fresh.append(event)
        if not fresh:
            return
        self._read[index] = shard.last_cursor
        for event in reversed(fresh):
            self._event(event)

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
        taken_over = event.sequence == 1 and event.phase is ActionPhase.RECOVERED
        legal = moved is life.moved or moved in TRANSITIONS[life.moved] or taken_over
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
    def _started(self, action: ActionId, owner: str, together: int) -> None:
        record, now = self._store.shard(action).records[str(action)], self._store.now()
        launch, times = record.launch, record.metadata
        assert launch is not None
        _ensure(times.not_before <= now, f"{action} was drawn at {now}, and begins at {times.not_before}")
        late = times.expires_at and times.expires_at <= now
        _ensure(not late, f"{action} was drawn at {now}, and has expired at {times.expires_at}")
        key = (str(action), launch.name)
        _ensure(key not in self.granted, f"{key} was drawn by {self.granted.get(key)} and again by {owner}")
        self.granted[key], self.together[key] = owner, together
        self.returned.discard((*key, owner))

    def _had_outputs(self, path: str) -> bool:
        """Return a hit that was copied and then not found again leaves its copy; so does a life that comes again.

        A client that sleeps between its question and its submission gives a run the incarnation of one that was forgotten
        meanwhile.
        """
        return path in self.cached or (path, self.lives[path].incarnation) in self.forgotten

    def _given_back(self, action: ActionId, launch: str, owner: str) -> None:
        key = (str(action), launch)
        holder = self.granted.pop(key, None)
        _ensure(holder == owner, f"{action}: {owner} gave {launch} back, and {holder} is at work")
        _ensure(key not in self.begun, f"{action}: {launch} was begun, and given back by {owner}")
        self.returned.add((*key, owner))

    def begins(self, path: str, launch: str, owner: str) -> None:
        """Note that a worker begins to run a launch.

        Raises:
            Violation: it has given it back.
        """
        _ensure(
            (path, launch, owner) not in self.returned, f"{path}: {owner} gave {launch} back, and runs it"
        )
        if self.granted.get((path, launch)) == owner:  # else of an earlier life, whose names come again
            self.begun.add((path, launch))

    def _finished(self, action: ActionId, launch: str, owner: str) -> None:
        found = self._store.shard(action).records[str(action)].launch
        assert found is not None
        assert found.outcome is not None
        current = (found.name, found.owner)
        _ensure(current == (launch, owner), f"{action}: {owner} reported {launch} and {current} is at work")
        _ensure(
            found.outcome.code != "OutputsExist" or self._had_outputs(str(action)),
            f"{action}: {launch} found what another one left",
        )

    def _declined(self, action: ActionId, launch: str, owner: str) -> None:
        holder = self.granted.pop((str(action), launch), None)
        _ensure(holder == owner, f"{action}: {owner} handed back {launch} and {holder} is at work")

    def _forgotten(self, action: ActionId) -> None:
        path = str(action)
        life = self.lives.pop(path)
        _ensure(life.final is not None, f"{path} was forgotten before its end")
        self.forgotten.setdefault((path, life.incarnation), []).append(life)
        for key in [key for key in self.together if key[0] == path]:
            self.granted.pop(key, None)
            del self.together[key]
            self.begun.discard(key)
        self.returned = {one for one in self.returned if one[0] != path}


def _looked_at(path: str, life: Life, record: Record, due: int | None, now: int) -> None:
    """Check that somebody will look, in time, at what lives or owes something, and nobody at the rest."""
    if life.phase.is_terminal():
        owes = bool(record.metadata.finalizers)
        if owes != (due is not None):
            raise Violation(
                f"{path} has ended, {'owes clean-up' if owes else 'owes nothing'}, and is due: {due}"
            )
    elif due is None:
        waits_for_a_person = record.is_condition and life.phase is ActionPhase.PAUSED
        if not waits_for_a_person or life.requests:
            raise Violation(f"{path} is {life.phase} and nobody will look at it")
    elif life.unseen and due > now and not record.held(now):
        raise Violation(f"{path}: an abort, a signal or an outcome came, and nobody looks before {due}")


def _stands(path: str, record: Record, shard: Shard, now: int) -> None:
    """Check that a launch which waits for a worker stands in its line, and no other launch stands anywhere."""
    launch = record.launch
    if launch is None:
        return
    if launch.line and (launch.owner or path not in shard.lines.get(launch.line, {})):
        raise Violation(f"{path} is said to stand in {launch.line!r}, and does not")
    expired = record.metadata.expires_at and record.metadata.expires_at <= now
    if not (launch.line or launch.owner or launch.handed_back or record.stopping or expired):
        raise Violation(f"launch {launch.name!r} of {path} waits for a worker, and stands in no line")


def _counters(shard: Shard) -> None:
    """Check that counters of runs and parents match the records, and that no child lives above an end that owes nothing."""
    found: dict[Any, dict[str, int]] = {run: {} for run in shard.counters}
    for path, record in shard.records.items():
        run, parent = record.id.run_id, record.spec.parent_action_name
        counts = found.setdefault(run, {})
        phase = str(int(record.phase))
        counts[phase] = counts.get(phase, 0) + 1
        error = record.status.error_state
        if record.ended and error is not None and record.phase is not ActionPhase.RECOVERED:
            known = shard.counters.get(run, {})
            _ensure(f"x:{error.code}" in known, f"{path} ended with {error.code}, and {run} counted {known}")
        if parent is None:
            continue
        counts[f"o:{parent}"] = counts.get(f"o:{parent}", 0) + (not record.ended)
        above = shard.records.get(str(run.action(parent)))
        _ensure(above is not None, f"{path} is there, and what is above it was forgotten")
        if not record.ended:
            assert above is not None
            owed = above.metadata.finalizers or record.metadata.deletion is not None
            _ensure(not above.ended or bool(owed), f"{path} lives on below an end that owes nothing")
    for run, counts in found.items():
        stored = {
            k: n
            for k, n in shard.counters.get(run, {}).items()
            if n and k[:2] not in {"t:", "f:", "x:", "lp"}
        }
        _ensure(
            stored == {k: n for k, n in counts.items() if n}, f"{run}: counted {stored}, there are {counts}"
        )


def _ensure(holds: bool, text: str) -> None:  # noqa: FBT001  # as an assert, for which -O has no meaning
    if not holds:
        raise Violation(text)

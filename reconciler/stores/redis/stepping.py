"""Redis store: submitting and stepping. One script per verb; a batch is one round trip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import structlog
from redis.exceptions import ResponseError

from reconciler import metrics
from reconciler.api.action import FINALIZER, ActionId, RunId, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.tokens import FencingToken
from reconciler.core.events import first_event
from reconciler.core.status_conditions import action_phase
from reconciler.stores import records
from reconciler.stores.base import (
    ClaimReport,
    CommitOutcome,
    CommitReport,
    Created,
    CreateOutcome,
    CreateReport,
    Late,
    Look,
    Write,
)
from reconciler.stores.events import encode_event
from reconciler.stores.lines import Head
from reconciler.stores.redis.changes import Change, change_of, differing_fields
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore, counted, pairs
from reconciler.stores.redis.lines import heads_of
from reconciler.stores.redis.scripts import pack, script
from reconciler.stores.timing import APART, EVENT_IDS, GRACE, LINES_AT_ONCE, PENDING_TTL, REFILL_AFTER

log = structlog.get_logger(__name__)

_CREATED = tuple(CreateOutcome)
_COMMITTED = tuple(CommitOutcome)
_CHUNK = 500


class _How(NamedTuple):
    """The last arguments of `create.lua`, in its order."""

    pending: int
    check: int
    until: int
    begins: str


class Stepping(RedisCore):
    """The verbs of submission and of steps."""

    @explain
    def now(self) -> int:
        """Return the server's time, ms since the epoch."""
        seconds, micros = self.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    @explain
    def create(
        self, actions: Sequence[TaskAction], *, until: int = 0, quiet: bool = False, begins: str = ""
    ) -> CreateReport:
        pending = 0 if quiet else PENDING_TTL
        return self._create(actions, _How(pending=pending, check=0, until=until, begins=begins))

    @explain
    def would_create(self, actions: Sequence[TaskAction], *, begins: str = "") -> tuple[Created, ...]:
        return self._create(actions, _How(pending=0, check=1, until=0, begins=begins)).outcomes

    def _create(self, actions: Sequence[TaskAction], how: _How) -> CreateReport:
        """Run the script on chunks of actions."""
        outcomes: list[Created | None] = [None] * len(actions)
        by_shard: dict[int, list[int]] = {}
        for index, action in enumerate(actions):
            by_shard.setdefault(self.shard_of(action.id.run_id), []).append(index)
        cache: dict[Any, tuple[bytes, bytes]] = {}
        wake: list[int] = []
        for shard, indexes in by_shard.items():
            for start in range(0, len(indexes), _CHUNK):
                chunk = indexes[start : start + _CHUNK]
                part = [actions[index] for index in chunk]
                need, answers = self._create_chunk(shard, part, cache, how)
                for index, answer in zip(chunk, answers, strict=True):
                    outcomes[index] = answer
                if need and shard not in wake:
                    wake.append(shard)
        return CreateReport(tuple(outcomes), tuple(wake))  # type: ignore[arg-type]  # all are filled

    def _create_chunk(
        self,
        shard: int,
        actions: Sequence[TaskAction],
        cache: dict[Any, tuple[bytes, bytes]],
        how: _How,
    ) -> tuple[bool, list[Created]]:
        items, encoded, sent = [], [], set()
        for action in actions:
            fields, name, shared = records.encode_new(action, cache)
            flat = [*map(bytes.decode, chain.from_iterable(fields.items()))]
            event = encode_event(first_event(action))[:-1].decode()
            once = "" if (action.id.run_id, name) in sent else shared.decode()
            sent.add((action.id.run_id, name))
            phase = action_phase(action.status)
            items.append(
                (
                    str(action.id),
                    action.spec.parent_action_name or "",
                    flat,
                    event,
                    str(int(phase)),
                    name.decode(),
                    once,
                    action.metadata.not_before,
                    action.metadata.expires_at,
                    int(phase is ActionPhase.RECOVERED),
                )
            )
            encoded.append((fields, shared))
        due, base = self.keys.due(shard), self.keys.base(shard)
        need, answers = script("create")(self.client, due, base, pack(items), *how)
        return bool(need), [
            self._created(action.id.run_id, *new, answer)
            for action, new, answer in zip(actions, encoded, answers, strict=True)
        ]

    def _created(self, run: RunId, fields: records.Fields, shared: bytes, answer: list[Any]) -> Created:
        outcome = _CREATED[answer[0]]
        if outcome is CreateOutcome.OTHER_INCARNATION:
            return Created(outcome, incarnation=answer[1].decode())
        if outcome is not CreateOutcome.CONFLICT:
            return Created(outcome)
        stored = {b"s": answer[1], **({b"r": answer[3]} if answer[3] else {})}
        pipe = self.client.pipeline(transaction=False)
        self.ask_part(pipe, run, answer[2])
        part, of_run = pipe.execute()
        return Created(outcome, differing_fields(fields, shared, stored, part or of_run or b"{}"))

    @explain
    def claim(
        self, shard: int, *, owner: str, limit: int, named: Sequence[ActionId] = (), first: bool = False
    ) -> ClaimReport:
        """Ignore `owner`, which is for the twin's journal; here the token alone decides."""
        del owner
        call = self.claim_call(shard, limit, named, first=first)
        return self.claim_report(script("claim")(self.client, *call))

    def claim_call(
        self,
        shard: int,
        limit: int,
        named: Sequence[ActionId] = (),
        *,
        first: bool = False,
        horizon: int | None = None,
    ) -> tuple[Any, ...]:
        """Return the arguments of the script that claims; with a horizon of 0 it arms no countdown."""
        return (
            self.keys.due(shard),
            self.keys.base(shard),
            self._lease,
            limit,
            1 if first else 0,
            pack([str(action) for action in named]),
            FINALIZER,
            self._horizon if horizon is None else horizon,
        )

    def claim_report(self, answer: list[Any]) -> ClaimReport:
        """Read the script's answer."""
        now, at, arm, claimed, oldest, foreign = answer
        if foreign:
            log.error("claim.foreign_record", actions=[path.decode() for path in foreign])
        moment = int(now)
        if metrics.enabled():
            sizes = (sum(map(len, entry[2])) for entry in claimed)
            metrics.claimed(sizes, moment - int(oldest) if oldest else -1)
        entries = [(ActionId(*e[0].decode().split("/")), pairs(e[2]), e) for e in claimed]
        self.fetch_shared((action.run_id, fields[b"h"]) for action, fields, _ in entries)
        actions = [self._claimed(action, fields, e, moment) for action, fields, e in entries]
        return ClaimReport(moment, actions, int(at), bool(arm))

    def _claimed(self, id: ActionId, fields: dict[bytes, bytes], entry: list[Any], now: int) -> TaskAction:  # noqa: A002  # the word of the field
        _, token, _, kids, stands = entry
        if stands:
            fields[b"in"] = b"1"
        action = self.decode(id, fields, counted(kids), now)
        action.token = FencingToken(int(token))
        return action

    @explain
    def commit(self, shard: int, writes: Sequence[Write]) -> CommitReport:
        return self.commit_report(shard, script("commit")(self.client, *self.commit_call(shard, writes)))

    def commit_call(self, shard: int, writes: Sequence[Write]) -> tuple[Any, ...]:
        """Return the arguments of the script that commits."""
        return self.change_call(shard, [packed(change_of(write)) for write in writes])

    def change_call(self, shard: int, changes: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        """Return the arguments of the script that commits packed changes."""
        return (
            self.keys.due(shard),
            self.keys.base(shard),
            pack(changes),
            self._horizon,
            GRACE,
            EVENT_IDS,
            FINALIZER,
            APART,
            REFILL_AFTER,
        )

    def commit_report(self, shard: int, answer: list[Any]) -> CommitReport:
        """Read the script's answer."""
        now, at, arm, outcomes, opened = answer
        heads = heads_of(shard, opened) if opened else ()
        return CommitReport(int(now), tuple(_COMMITTED[o] for o in outcomes), int(at), bool(arm), heads)

    @explain
    def wake(self, actions: Iterable[ActionId], at: int = 0) -> tuple[int, ...]:
        found = []
        for shard, group in self.by_shard(actions).items():
            paths = pack([str(action) for action in group])
            if script("wake")(
                self.client, self.keys.due(shard), self.keys.base(shard), paths, at, PENDING_TTL
            ):
                found.append(shard)
        return tuple(found)

    @explain
    def look(self, grace: int, *, anew: bool = False) -> Look:
        bounds = (grace, PENDING_TTL, self._horizon, LINES_AT_ONCE, int(anew))
        calls = [(self.keys.due(shard), self.keys.base(shard), *bounds) for shard in range(self.shards)]
        late: list[Late] = []
        heads: list[Head] = []
        for shard, answer in enumerate(script("look").for_each(self.client, calls)):
            if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
                log.error("look.foreign_index", shard=shard, key=self.keys.due(shard))
                continue  # the other shards are well
            if isinstance(answer, Exception):
                raise answer
            overdue, at, arm, now, lines = answer
            if overdue or arm:
                late.append(Late(shard, bool(overdue), int(at), int(now)))
            heads += heads_of(shard, lines)
        return Look(tuple(late), tuple(heads))

    @explain
    def nudge(self, shard: int) -> bool:
        return bool(script("nudge")(self.client, self.keys.due(shard), self.keys.base(shard), PENDING_TTL))

    @explain
    def due(self, shard: int, limit: int = 1000) -> list[tuple[ActionId, int]]:
        entries: Any = self.client.zrange(self.keys.due(shard), 0, limit - 1, withscores=True)
        return [(ActionId(*path.decode().split("/")), int(at)) for path, at in entries]


def packed(change: Change) -> tuple[Any, ...]:
    """Pack a change for the script of commit: all text, because a record holds JSON and decimals."""
    return (
        change.path,
        change.token.decode(),
        [*map(bytes.decode, change.sets)],
        [*map(bytes.decode, change.dels)],
        [*map(bytes.decode, change.events)],
        *(change.phase, change.due, change.parent, change.ended, change.failed, change.seen, change.version),
        *(
            change.launch,
            change.line,
            change.unsent,
            change.incarnation,
            change.refill_at,
            change.fence,
            change.code,
        ),
    )

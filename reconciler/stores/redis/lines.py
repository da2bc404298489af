"""Redis store: the lines of queues, and the heads that tell which of them have launches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.audit import Ruling, Who, ruling
from reconciler.stores.lines import Draw, GivenBack, Head, Pick, QueueState, Served, Turn
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore, counted, open_json, pairs
from reconciler.stores.redis.scripts import pack, script
from reconciler.stores.timing import AGED, AGED_EVERY, GRACE, PART, PRIORITIES, RULINGS, TICKET_TTL

log = structlog.get_logger(__name__)

_ruling = msgspec.json.Decoder(Ruling)
_AT_ONCE = 1000
"""Launches one script call moves."""


class QueueLines(RedisCore):
    """The verbs for lines of launches and the queues they belong to."""

    @explain
    def announce(self, queue: str, heads: Sequence[Head] = ()) -> bool:
        found = [(_entry(head), head.place, head.at) for head in heads]
        key, base = self.keys.heads(queue), self.keys.queue(queue)
        return bool(script("announce")(self.client, key, base, pack(found), TICKET_TTL))

    @explain
    def pick(
        self,
        queue: str,
        *,
        worker: str = "",
        served: Sequence[Served] = (),
        first: bool = False,
        choose: bool = True,
    ) -> Pick:
        told = [(_entry(one.head), one.cost, one.left, one.head.place, one.head.at) for one in served]
        key, base = self.keys.heads(queue), self.keys.queue(queue)
        entry, lines = script("pick")(
            self.client,
            *(key, base, worker, pack(told), int(first), int(choose), AGED_EVERY, AGED),
        )
        shard, _, rest = entry.decode().partition("/")
        return Pick(int(shard), f"{queue}/{rest}", int(lines)) if rest else Pick(lines=int(lines))

    @explain
    def draw(self, shard: int, line: str, *, owner: str, limit: int, lease: int, least: int = 1) -> Draw:
        key, base = self.keys.due(shard), self.keys.base(shard)
        now, left, place, drawn, at = script("draw")(
            self.client, key, base, line, owner, limit, lease, GRACE, PART, least
        )
        found = [(ActionId(*path.decode().split("/")), pairs(flat), kids) for path, flat, kids in drawn]
        self.fetch_shared((action.run_id, fields[b"h"]) for action, fields, _ in found if b"h" in fields)
        read = [self._readable(action, fields, kids, int(now)) for action, fields, kids in found]
        actions = [record for record in read if record is not None]
        return Draw(actions, int(left), Head(shard, line, int(place), int(at)))

    def _readable(
        self, action: ActionId, fields: dict[bytes, bytes], kids: Sequence[bytes | None], now: int
    ) -> TaskAction | None:
        """Read a drawn record. One that somebody overwrote harms no other launch: its lease simply ends."""
        try:
            return self.decode(action, fields, counted(kids), now)
        except (msgspec.DecodeError, KeyError, ValueError):
            log.error("line.foreign_record", action=str(action))  # noqa: TRY400  # the record would be shown
            return None

    @explain
    def give_back(
        self, shard: int, line: str, *, owner: str, launches: Sequence[GivenBack]
    ) -> tuple[Head, ...]:
        packed = pack([(str(one.action), one.launch, one.incarnation) for one in launches])
        opened = script("give_back")(
            self.client, self.keys.due(shard), self.keys.base(shard), line, owner, packed
        )
        return heads_of(shard, opened)

    @explain
    def prioritize(
        self, actions: Sequence[ActionId], priority: int, *, incarnation: str = "", by: Who | None = None
    ) -> tuple[int, tuple[Head, ...]]:
        ruled = ruling(f"priority {priority}", by)
        told = open_json(ruled) if ruled is not None else ""
        changed, heads = 0, list[Head]()
        for shard, group in self.by_shard(actions).items():
            for start in range(0, len(group), _AT_ONCE):
                paths = pack([str(action) for action in group[start : start + _AT_ONCE]])
                _, count, opened = script("prioritize")(
                    self.client,
                    self.keys.due(shard),
                    self.keys.base(shard),
                    paths,
                    priority,
                    incarnation,
                    told,
                    PRIORITIES,
                )
                changed += int(count)
                heads += heads_of(shard, opened)
        return changed, tuple(heads)

    @explain
    def move(self, queue: str, to: str) -> tuple[int, tuple[Head, ...]]:
        moved, heads = 0, list[Head]()
        for shard in range(self.shards):
            count = _AT_ONCE
            while count >= _AT_ONCE:
                _, count, opened = script("move")(
                    self.client, self.keys.due(shard), self.keys.base(shard), queue, to, _AT_ONCE
                )
                moved += int(count)
                heads += heads_of(shard, opened)
        return moved, tuple(heads)

    @explain
    def set_queue(
        self, queue: str, *, pause: bool | None = None, limit: int | None = None, note: Ruling | None = None
    ) -> QueueState:
        changes = pause is not None or limit is not None
        if changes:
            self.client.sadd(self.keys.queues, queue)  # first: a pause that nobody is shown would stay
        paused, most = script("queue")(
            self.client,
            self.keys.heads(queue),
            self.keys.queue(queue),
            "" if pause is None else int(pause),
            "" if limit is None else limit,
            "" if note is None else open_json(note),
            RULINGS,
        )
        state = QueueState(bool(paused), int(most))
        if changes and state == QueueState():
            self.client.srem(self.keys.queues, queue)
        return state

    @explain
    def queues_with_rules(self) -> set[str]:
        names: Any = self.client.smembers(self.keys.queues)
        return {name.decode() for name in names}

    @explain
    def rulings(self, queue: str) -> list[Ruling]:
        entries: Any = self.client.xrange(self.keys.ruled(queue))
        return [_ruling.decode(fields[b"r"]) for _, fields in entries]

    @explain
    def turn(self, action: ActionId) -> Turn:
        shard, path = self.shard_of(action.run_id), str(action)
        pipe = self.client.pipeline(transaction=False)
        pipe.hget(self.keys.action(action), "nl")
        pipe.zscore(self.keys.due(shard), path)
        line, due = pipe.execute()
        look = int(due or 0)
        if not line:
            return Turn(due=look)
        ahead: Any = self.client.zrank(self.keys.line(shard, line.decode()), path)
        return Turn(due=look) if ahead is None else Turn(line.decode(), int(ahead), look)


def heads_of(shard: int, lines: Sequence[Sequence[bytes]]) -> tuple[Head, ...]:
    """Read heads from what a script returns of lines: {line, place of its first launch, when}..."""
    return tuple(Head(shard, line.decode(), int(float(place)), int(at)) for line, place, at in lines)


def _entry(head: Head) -> str:
    return f"{head.shard}/{head.line.partition('/')[2]}"

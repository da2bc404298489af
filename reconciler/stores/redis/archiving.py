"""The verbs of the archive on Redis."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from reconciler.api.action import RunId
from reconciler.core.ordering import natural_page
from reconciler.stores.archiving import OldEvents, RawAction, RawRun, SealedRun
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore
from reconciler.stores.redis.scripts import pack, script
from reconciler.stores.shared_parts import whole_part

_PAGE = 200
"""Actions one script reads: some milliseconds, in which nobody else is served."""
_found = msgspec.msgpack.Decoder(list[tuple[str, str, list[str], list[str]]])


class Archiving(RedisCore):
    """The verbs of the archive: seal runs, read them as a whole, note that they are archived."""

    @explain
    def seal(self, shard: int, *, before: int, limit: int, after: int = 0) -> tuple[list[SealedRun], int]:
        looked, found = script("seal")(
            self.client, self.keys.due(shard), self.keys.base(shard), before, limit, after
        )
        sealed = [
            SealedRun(RunId(*run.decode().split("/")), incarnation.decode()) for run, incarnation in found
        ]
        return sealed, int(looked)

    @explain
    def recall(self, run: RunId) -> RawRun | None:
        pipe = self.client.pipeline(transaction=False)
        pipe.zrange(self.keys.tree(run), 0, -1)
        pipe.hgetall(self.keys.shared(run))
        pipe.hgetall(self.keys.run(run))
        pipe.zscore(self.keys.runs(self.shard_of(run)), str(run))
        members, shared, known, created = pipe.execute()
        if not members:
            return None
        incarnation = known.get(b"i", b"")
        shared |= self._parts_of(run, [field[2:] for field in known if field.startswith(b"h:")], incarnation)
        names = natural_page((member.decode() for member in members), "", len(members))
        paths = [f"{run}/{name.rpartition('/')[2]}" for name in names]
        return RawRun(
            run,
            incarnation.decode(),
            int(created or 0),
            {name.decode(): whole_part(part, run, name) for name, part in shared.items()},
            [
                action
                for start in range(0, len(paths), _PAGE)
                for action in self._recalled(run, paths[start : start + _PAGE])
            ],
        )

    def _parts_of(self, run: RunId, digests: list[bytes], incarnation: bytes) -> dict[bytes, bytes]:
        """Read the shared specs that a run uses, by name."""
        if not digests:
            return {}
        parts: Any = self.client.hmget(self.keys.parts(self.shard_of(run)), digests)
        found = zip(digests, parts, strict=True)
        return {digest + incarnation: part for digest, part in found if part is not None}

    def _recalled(self, run: RunId, paths: Sequence[str]) -> list[RawAction]:
        shard = self.shard_of(run)
        data: Any = script("recall")(self.client, self.keys.due(shard), self.keys.base(shard), pack(paths))
        return [
            RawAction(
                path.rpartition("/")[2], int(ended), dict(zip(flat[::2], flat[1::2], strict=True)), events
            )
            for path, ended, flat, events in _found.decode(data)
        ]

    @explain
    def set_archived(self, shard: int, runs: Sequence[SealedRun]) -> None:
        if runs:
            script("archived")(
                self.client,
                self.keys.due(shard),
                self.keys.base(shard),
                pack([(str(sealed.run), sealed.incarnation) for sealed in runs]),
            )

    @explain
    def old_events(self, shard: int, *, before: int, limit: int, after: str = "") -> OldEvents:
        last, more, oldest, found = script("old_events")(
            self.client, self.keys.due(shard), self.keys.base(shard), before, limit, after
        )
        events = [(cursor.decode(), event.decode()) for cursor, event in found]
        return OldEvents(events, last.decode(), bool(more), int(oldest))

    @explain
    def set_spilled(self, shard: int, last: str) -> None:
        script("set_spilled")(self.client, self.keys.due(shard), self.keys.base(shard), last)

    @explain
    def take_turn(self, sweep: str, life: int) -> bool:
        return bool(self.client.set(self.keys.turn(sweep), "1", nx=True, px=life))

    @explain
    def installation(self) -> str:
        pipe = self.client.pipeline(transaction=False)
        pipe.hsetnx(self.keys.meta, "installation", uuid.uuid4().hex)
        pipe.hget(self.keys.meta, "installation")
        name: bytes = pipe.execute()[-1]
        return name.decode()

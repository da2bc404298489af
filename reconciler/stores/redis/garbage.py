"""Notes of the collector: objects that go from S3 after their records, on Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from reconciler.api.action import ActionId, TaskAction
from reconciler.stores.garbage import Folders, Life
from reconciler.stores.holds import RunLife
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.queries import Queries, named
from reconciler.stores.redis.scripts import script

_folders = msgspec.json.Decoder(Folders)


class GarbageNotes(Queries):
    """The verbs for notes of objects whose records go."""

    @explain
    def collectable(
        self, shard: int, *, before: int, limit: int, only: RunLife | None = None
    ) -> list[TaskAction]:
        names: list[ActionId] = []
        offset = 0
        while True:
            found, missing, left, _ = script("collect")(
                self.client,
                *(self.keys.due(shard), self.keys.base(shard), before, limit, offset, "look", 0),
                *named(only),
            )
            names += [ActionId(*path.decode().split("/")) for path, _ in found]
            offset += len(found) + left
            if len(found) + missing + left < limit:
                return [record for record in self.get_many(names) if record is not None]

    @explain
    def note_garbage(self, shard: int, folders: Mapping[Life, Folders]) -> None:
        if folders:
            pairs = ((str(life), msgspec.json.encode(names)) for life, names in folders.items())
            self.client.hset(self.keys.garbage(shard), items=[part for pair in pairs for part in pair])

    @explain
    def garbage(self, shard: int) -> dict[Life, Folders]:
        notes: Any = self.client.hgetall(self.keys.garbage(shard))
        return {Life.parse(name.decode()): _folders.decode(names) for name, names in notes.items()}

    @explain
    def drop_garbage(self, shard: int, lives: Iterable[Life]) -> None:
        names = [str(life) for life in lives]
        if names:
            self.client.hdel(self.keys.garbage(shard), *names)

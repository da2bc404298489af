"""The notes of the collector on Redis: what goes from S3 after its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from reconciler.api.action import ActionId, TaskAction
from reconciler.stores.doomed import Folders, Life
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.looking import Looking
from reconciler.stores.redis.scripts import script

_folders = msgspec.json.Decoder(Folders)


class Dooming(Looking):
    """collectable, doom, doomed, spare."""

    @explain
    def collectable(self, shard: int, *, before: int, limit: int) -> list[TaskAction]:
        names: list[ActionId] = []
        offset = 0
        while True:
            found, missing, left, _ = script("collect")(
                self.client, self.keys.due(shard), self.keys.base(shard), before, limit, offset, "look", 0
            )
            names += [ActionId(*path.decode().split("/")) for path, _ in found]
            offset += len(found) + left
            if len(found) + missing + left < limit:
                return [record for record in self.get_many(names) if record is not None]

    @explain
    def doom(self, shard: int, folders: Mapping[Life, Folders]) -> None:
        if folders:
            pairs = ((str(life), msgspec.json.encode(names)) for life, names in folders.items())
            self.client.hset(self.keys.doomed(shard), items=[part for pair in pairs for part in pair])

    @explain
    def doomed(self, shard: int) -> dict[Life, Folders]:
        notes: Any = self.client.hgetall(self.keys.doomed(shard))
        return {Life.parse(name.decode()): _folders.decode(names) for name, names in notes.items()}

    @explain
    def spare(self, shard: int, lives: Iterable[Life]) -> None:
        names = [str(life) for life in lives]
        if names:
            self.client.hdel(self.keys.doomed(shard), *names)

"""The notes of the collector, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.api.action import TaskAction
from reconciler.stores.doomed import Folders, Life
from reconciler.stores.memory.looking import Looking


class Dooming(Looking):
    """collectable, doom, doomed, spare."""

    def collectable(self, shard: int, *, before: int, limit: int) -> list[TaskAction]:
        del limit  # the size of a page, and all of this is one
        with self._lock:
            state = self._shards[shard]
            ended = sorted((at, path) for path, at in state.done.items() if at < before)
            return [
                self.decode(path, state.records[path])
                for _, path in ended
                if path in state.records and not self.must_stay(state, path, before)
            ]

    def doom(self, shard: int, folders: Mapping[Life, Folders]) -> None:
        with self._lock:
            self._shards[shard].doomed.update(folders)
            self.wrote("doom", tuple(folders))

    def doomed(self, shard: int) -> dict[Life, Folders]:
        with self._lock:
            return dict(self._shards[shard].doomed)

    def spare(self, shard: int, lives: Iterable[Life]) -> None:
        with self._lock:
            dropped = tuple(lives)
            for life in dropped:
                self._shards[shard].doomed.pop(life, None)
            self.wrote("spare", dropped)

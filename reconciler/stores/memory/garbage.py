"""Notes of the collector: objects that go from S3 after their records, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.api.action import TaskAction
from reconciler.stores.garbage import Folders, Life
from reconciler.stores.holds import RunLife
from reconciler.stores.memory.queries import Queries


class GarbageNotes(Queries):
    """The verbs for notes of objects whose records go."""

    def collectable(
        self, shard: int, *, before: int, limit: int, only: RunLife | None = None
    ) -> list[TaskAction]:
        del limit  # the size of a page, and all of this is one
        with self._lock:
            state = self._shards[shard]
            before, ended = self.ended_before(state, before, only)
            return [
                self.view(state.records[path])
                for _, path in ended
                if path in state.records and not self.must_stay(state, path, before)
            ]

    def note_garbage(self, shard: int, folders: Mapping[Life, Folders]) -> None:
        with self._lock:
            self._shards[shard].garbage.update(folders)
            self.wrote("note_garbage", tuple(folders))

    def garbage(self, shard: int) -> dict[Life, Folders]:
        with self._lock:
            return dict(self._shards[shard].garbage)

    def drop_garbage(self, shard: int, lives: Iterable[Life]) -> None:
        with self._lock:
            dropped = tuple(lives)
            for life in dropped:
                self._shards[shard].garbage.pop(life, None)
            self.wrote("drop_garbage", dropped)

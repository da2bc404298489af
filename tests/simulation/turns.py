"""An oracle beside the heads of queues: nobody who waits is passed over for ever."""

from __future__ import annotations

from collections import Counter

from reconciler.core.line import read_line
from reconciler.stores.changes import AGED, AGED_EVERY
from reconciler.stores.lines import Head
from reconciler.stores.memory.store import MemoryStore

_PASSED = 20
"""Choices of one level that may go to others while a fair key waits: of a few keys, some of whose workers die uncounted."""
_AGED = 2 * AGED_EVERY
"""Choices that may go to others while what has stood longest waits, once it has stood long."""


class Turns:
    """Counts how often others were chosen before each one that waits; the numbers of the store itself are not asked."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._passed: Counter[tuple[int, str]] = Counter()
        self._overdue: Counter[tuple[int, str]] = Counter()

    def picked(self, queue: str, chosen: Head | None) -> str:
        """Note a choice, and say who starves: nothing = nobody."""
        if chosen is None:
            return ""
        line = read_line(chosen.line)
        rivals = [head for head in self._heads(queue) if read_line(head.line).function == line.function]
        starved = self._keys(rivals, (line.level, line.fair)) or self._oldest(rivals, chosen)
        return f"{starved}; the last one went to {chosen.line}" if starved else ""

    def _heads(self, queue: str) -> list[Head]:
        return list(self._store._heads[queue].known.values())

    def _keys(self, rivals: list[Head], served: tuple[int, str]) -> str:
        keys = {(found.level, found.fair) for found in (read_line(head.line) for head in rivals)}
        waiting = {key for key in keys if key[0] == served[0] and key != served}
        self._passed = Counter({key: n for key, n in self._passed.items() if key in keys - {served}})
        self._passed.update(waiting)
        return next(
            (
                f"key {key} was passed over {self._passed[key]} times"
                for key in waiting
                if self._passed[key] > _PASSED
            ),
            "",
        )

    def _oldest(self, rivals: list[Head], chosen: Head) -> str:
        oldest = min(rivals, key=lambda head: head.place)
        entry = (oldest.shard, oldest.line)
        if entry == (chosen.shard, chosen.line) or oldest.place + AGED > self._store.now():
            self._overdue.clear()
            return ""
        self._overdue = Counter({entry: self._overdue[entry] + 1})
        times = self._overdue[entry]
        return f"{oldest.line} has stood longest and was passed over {times} times" if times > _AGED else ""

"""An oracle beside the heads of queues: nobody who waits is passed over for ever."""

from __future__ import annotations

from collections import Counter

from reconciler.core.line import read_line
from reconciler.stores.lines import Head
from reconciler.stores.memory.store import MemoryStore
from reconciler.stores.timing import AGED, AGED_EVERY

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
        oldest = min(rivals, key=lambda head: (head.place, head.shard, head.line))
        aged = oldest.place + AGED <= self._store.now()
        by_age = aged and (oldest.shard, oldest.line) == (chosen.shard, chosen.line)
        starved = self._keys(rivals, (line.level, line.fair), by_age=by_age)
        starved = starved or self._aged(oldest if aged and not by_age else None)
        return f"{starved}; the last one went to {chosen.line}" if starved else ""

    def _heads(self, queue: str) -> list[Head]:
        return list(self._store._heads[queue].known.values())

    def _keys(self, rivals: list[Head], served: tuple[int, str], *, by_age: bool) -> str:
        """Note which keys of the level were passed over. What one got by age it got in advance: others catch up first."""
        keys = {(found.level, found.fair) for found in (read_line(head.line) for head in rivals)}
        others = {key for key in keys if key[0] == served[0] and key != served}
        self._passed = Counter({key: self._passed[key] for key in keys})
        if by_age:
            self._passed[served] = min(0, self._passed[served]) - len(
                others
            )  # each of which gets as much first
            return ""
        self._passed[served] = min(0, self._passed[served])
        self._passed.update(others)
        key, times = max(self._passed.items(), key=lambda found: found[1])
        return f"key {key} was passed over {times} times" if times > _PASSED else ""

    def _aged(self, passed: Head | None) -> str:
        """Note who has stood longest, for long, and was passed over: None = nobody."""
        if passed is None:
            self._overdue.clear()
            return ""
        entry = (passed.shard, passed.line)
        self._overdue = Counter({entry: self._overdue[entry] + 1})
        times = self._overdue[entry]
        return f"{passed.line} has stood longest and was passed over {times} times" if times > _AGED else ""

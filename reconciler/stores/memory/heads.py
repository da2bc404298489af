"""The twin: which lines of one queue have launches, and which of them is next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from reconciler.api.audit import Ruling
from reconciler.core.line import Line, read_line
from reconciler.stores.lines import Head, Served
from reconciler.stores.timing import AGED, AGED_EVERY, RULINGS, TICKET_TTL

Entry = tuple[int, str]
"""A line: its shard, and its name."""


@dataclass
class Heads:
    """The heads of one queue.

    Attributes:
        known: the first launch of each line that has any, and when it was seen.
        served: what each fair key of a level was served of late, in launches by weight.
        come: how far the keys of a level have come; a new one starts there.
        picks: number of choices since the last one that went to what has stood longest.
        ticket_until: how long the mark "a ticket is on its way" lives.
        paused: whether the queue is.
        limit: how many launches may wait; -1 = any number.
        ruled: who paused, moved or limited the queue, oldest first.
    """

    known: dict[Entry, Head] = field(default_factory=dict)
    served: dict[tuple[int, str], float] = field(default_factory=dict)
    come: dict[int, float] = field(default_factory=dict)
    picks: int = 0
    ticket_until: int = 0
    paused: bool = False
    limit: int = -1
    ruled: deque[Ruling] = field(default_factory=lambda: deque(maxlen=RULINGS))

    def announce(self, head: Head) -> None:
        """Note that a line has launches."""
        line, entry = read_line(head.line), (head.shard, head.line)
        seen = max(head.at, self.known[entry].at) if entry in self.known else head.at
        self.known[entry] = Head(head.shard, head.line, head.place, seen)
        self.served.setdefault((line.level, line.fair), self.come.get(line.level, 0))

    def need_ticket(self, now: int) -> bool:
        """Tell whether somebody must send a ticket."""
        if not self.known or self.paused or self.ticket_until > now:
            return False
        self.ticket_until = now + TICKET_TTL
        return True

    def serve(self, one: Served) -> None:
        """Note the result for a line that was picked."""
        entry, line = (one.head.shard, one.head.line), read_line(one.head.line)
        if (line.level, line.fair) in self.served:
            self.served[line.level, line.fair] += one.cost
        head = self.known.get(entry)
        if head is None:
            return
        if one.left:
            self.known[entry] = Head(head.shard, head.line, one.head.place, head.at)
        elif head.at <= one.head.at:  # else something has come since
            del self.known[entry]
            if all(
                read_line(name).level != line.level or read_line(name).fair != line.fair
                for _, name in self.known
            ):
                self.served.pop((line.level, line.fair), None)
        if not self.known:
            self.come, self.picks = {}, 0

    def choose(self, for_me: Callable[[str], bool], now: int) -> Head | None:
        """Choose the line to draw from next, among those whose function `for_me` takes."""
        if not self.known or self.paused:
            return None
        self.picks += 1
        aged = self._aged(for_me, now) if self.picks >= AGED_EVERY else None
        if aged is not None:
            self.picks = 0
            return aged
        for level in range(10, -1, -1):
            for fair, head in self._in_turn(level):
                if for_me(read_line(head.line).function):
                    self.come[level] = self.served[level, fair]
                    return head
        return None

    def _aged(self, for_me: Callable[[str], bool], now: int) -> Head | None:
        """Find the line that has stood longest among those `for_me` takes, if that is very long."""
        mine = (head for head in self.known.values() if for_me(read_line(head.line).function))
        oldest = min(mine, key=lambda head: (head.place, head.shard, head.line), default=None)
        return oldest if oldest is not None and oldest.place + AGED <= now else None

    def _in_turn(self, level: int) -> Iterator[tuple[str, Head]]:
        """Sort the lines of a level: by how often their fair keys were served, then by how long they have stood."""
        lines: list[tuple[float, str, int, int, str, Head]] = []
        for head in self.known.values():
            line: Line = read_line(head.line)
            if line.level == level:
                served = self.served[level, line.fair]
                lines.append((served, line.fair, head.place, head.shard, head.line, head))
        for _, fair, *_, head in sorted(lines, key=lambda one: one[:5]):
            yield fair, head

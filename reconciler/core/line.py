"""Names of lines: where a launch stands, by queue, priority, fair key and function."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final
from urllib.parse import quote

import msgspec

from reconciler.api.queues import read_weight
from reconciler.core.counted import counted

RELAUNCH: Final = 10
"""Level of a relaunch, above all priorities: it has stood in line before, and lost its turn by no fault."""
_LONGEST: Final = 64


class Line(msgspec.Struct, frozen=True):
    """A line in which launches stand: queue, level, fair key and function.

    Attributes:
        queue: name of the queue.
        level: priority 0-9, higher is sooner; 10 for a relaunch.
        alone: whether workers draw its launches one by one.
        fair: key between whose values workers take turns.
        function: what it runs.
    """

    queue: str
    level: int
    alone: bool
    fair: str
    function: str

    @property
    def name(self) -> str:
        """`<queue>/<level><- or !>/<fair key>/<function>`; the level is one hexadecimal digit."""
        return f"{self.queue}/{self.level:x}{'!' if self.alone else '-'}/{self.fair}/{self.function}"


def read_line(name: str) -> Line:
    """Read the line from a name that `Line.name` made."""
    queue, level, fair, function = name.split("/", 3)
    return Line(queue, int(level[0], 16), level[1] == "!", fair, function)


@cache
def weights_of(entries: tuple[str, ...]) -> dict[str, float]:
    """Read weights by fair key, as written in names of lines; 1 for keys that are not named.

    Args:
        entries: as in `etl=3`, of the settings.
    """
    return {fair_key(key): weight for key, weight in map(read_weight, entries)}


def fair_key(text: str) -> str:
    """Make a fair key usable as a part of a name: without separators, and of bounded length."""
    key = quote(text, safe=" @:+=,")
    if len(key) <= _LONGEST:
        return key
    return f"{key[:40]}~{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}"


def place_in(line: Line, ahead: int, waiting: int, workers: int) -> str:
    """Say where a launch stands.

    Args:
        line: its own.
        ahead: how many are before it there.
        waiting: how many wait in the queue.
        workers: how many consume it; 0 = not known.
    """
    level = "relaunches first" if line.level == RELAUNCH else f"priority {line.level}"
    which = f"{level}, fair key {line.fair}, {line.function}, runs of its shard"
    lines = f"{counted(waiting, 'waits', 'wait')} in all lines of the queue, which take turns, higher priorities first"
    drawn = f"; {counted(workers, 'worker consumes', 'workers consume')} it" if workers else ""
    own = f"{ahead or 'none'} before it in its own line ({which})"
    text = f'stands in line for a worker of queue "{line.queue}": {own}, {lines}{drawn}'
    return f"{text}; a worker takes one when a slot is free"

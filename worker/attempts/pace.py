"""The number of launches of a function that a process draws at a time: as many as it will run, and report, in a moment."""

from __future__ import annotations

from collections.abc import Sequence

_TOGETHER = 0.05
"""Seconds of work that are drawn together."""
_BESIDE_LONE = 0.02
"""The same while calls come by themselves, which wait for what was drawn before them."""
_UNDISTURBED = 0.25
"""Seconds of work that are drawn together when no other line of the queue has launches."""
_ENOUGH = 12
"""So many spread what a draw costs: of quick functions more would only make others wait, for the report of all of them."""
_SHARE = 32
"""Then at most one in so many of those that are left, or slots would run dry while others have some in hand."""
_NEW = 0.3
"""Weight of the newest duration in what is expected of a function."""
_MOST = 256
"""Most launches of one draw."""
_WORTH = 0.005
"""Seconds of work that are worth a draw: it costs about as much by itself, so the end of a line is not parted further."""
_REPORTED = 32
"""So many may be drawn together however long their reports take: of fewer, what each draw costs would weigh."""


class Expected:
    """The seconds that are expected of one call of each function."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def note(self, function: str, seconds: float) -> None:
        """Note how long one call took."""
        before = self._known.get(function, seconds)
        self._known[function] = before + _NEW * (seconds - before)

    def within(self, seconds: float, function: str) -> int:
        """Return how many calls fit into so many seconds."""
        return int(seconds / max(self._known.get(function, 0.0), 1e-5))


class Pace:
    """Decides how many launches of each function this process draws at a time.

    One batch is written and reported while the next one runs, so a call that comes beside many waits for whichever takes
    longer. Of functions that do next to nothing that is the report.
    """

    def __init__(self) -> None:
        self._calls = Expected()
        self._reports = Expected()
        self._most: dict[str, int] = {}

    def of(self, function: str, left: int = 0, *, beside_lone: bool = False) -> int:
        """Decide how many to draw: one of a function it has not run yet, then at most twice as many as ever.

        Args:
            function: its name.
            left: launches in this line, as far as no other line has any: then more of many may be drawn, and given back when
                others come.
            beside_lone: whether calls come by themselves, between those of this line.
        """
        seconds = _BESIDE_LONE if beside_lone else _TOGETHER
        reported = max(_REPORTED, self._reports.within(seconds, function))
        ran = self._calls.within(seconds, function)
        ran = max(ran, min(left // _SHARE, self._calls.within(_UNDISTURBED, function), _ENOUGH))
        return max(1, min(ran, reported, 2 * self._most.get(function, 0), _MOST))

    def least(self, function: str, limit: int) -> int:
        """Decide how many of so many to draw even when they are most of what is left in the line."""
        return max(1, min(self._calls.within(_WORTH, function), limit)) if limit > 1 else 1

    def ran(self, function: str, seconds: Sequence[float]) -> None:
        """Note how long some calls took."""
        if seconds:
            self._calls.note(function, sum(seconds) / len(seconds))
            self._most[function] = max(len(seconds), self._most.get(function, 0))

    def reported(self, function: str, count: int, seconds: float) -> None:
        """Note how long it took to write and report this many calls together."""
        if count:
            self._reports.note(function, seconds / count)

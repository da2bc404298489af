"""Let the clock of an event loop run ahead, so that a limit that fired in an earlier pass is not waited for again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Ahead:
    """The clock of the loop of one call, and how far it is ahead."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._by = 0.0

    def to_next_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make the first timer due; without one, or in a loop that does not list its timers, nothing happens."""
        timers = [timer.when() for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled()]
        left = min(timers) - loop.time() if timers else 0.0
        if left > 0:
            self._begin(loop)
            self._by += left

    def end(self) -> None:
        """Give the loop back its own clock."""
        loop, self._loop = self._loop, None
        if loop is not None:
            vars(loop).pop("time", None)  # gone where the loop was cleaned after its call

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is loop:
            return
        self.end()
        self._loop, self._by = loop, 0.0
        clock: Callable[[], float] = loop.time
        loop.time = lambda: clock() + self._by  # type: ignore[method-assign]  # as long as this call lasts

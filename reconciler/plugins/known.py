"""Tell which workers can run a function, read from the store at most once a second for all its launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from reconciler.stores.known import Known

_KEPT: Final = 1_000
"""How long an answer is good, ms."""
_MOST: Final = 1_000
"""Answers kept."""


class KnownFunctions:
    """Remembers answers of `Store.find_function` for a moment.

    Args:
        find: asks the store.
    """

    def __init__(self, find: Callable[[str, str], Known]) -> None:
        self._find = find
        self._answers: dict[tuple[str, str], tuple[int, Known]] = {}

    def __call__(self, queue: str, function: str, now: int) -> Known:
        """Return which living workers of a queue can run a function; `now` is the store's time, ms."""
        at, known = self._answers.get((queue, function), (0, Known()))
        if not at <= now < at + _KEPT:
            known = self._find(queue, function)
            if len(self._answers) >= _MOST:
                self._answers.clear()
            self._answers[queue, function] = (now, known)
        return known

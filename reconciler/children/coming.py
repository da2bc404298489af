"""The results of a map as they come, inside a task: in the order of the ends, the same in each pass."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

from reconciler.api.action import ActionId
from reconciler.api.errors import ActionEnded
from reconciler.children import requests as ask
from reconciler.children.parent import CANCELLED, Parent
from reconciler.core.children import member_index
from reconciler.core.results import AT_ONCE

T = TypeVar("T")
Outcome = tuple[int, Any | ActionEnded]
"""Index of a member, and its result or error."""


class Coming(Iterator[T], AsyncIterator[T], Generic[T]):
    """Results of a map in the order in which its members end; see `Run.as_completed`.

    Args:
        parent: the running call.
        group: number of the request that started the map.
        members: how many it has.
        outcome: reads the end of a member.
        shown: what the function sees of it.
    """

    def __init__(
        self,
        parent: Parent,
        group: int,
        members: int,
        outcome: Callable[[ask.End], Any | ActionEnded],
        shown: Callable[[Outcome], T],
    ) -> None:
        self.number = parent.reading()
        self._parent = parent
        self._group = group
        self._members = members
        self._outcome = outcome
        self._shown = shown
        self._ready: deque[Outcome] = deque()
        self._told = bytearray(members)
        self._name = f"results {parent.given_up.turn(('results', group))}"
        self._given = self._received = self._pending = self._at = 0
        self._asked = self._last = False
        parent.streams.add(self.number, self)

    # -- what comes --------------------------------------------------------------------------------------------------
    def take(self, found: ask.Ends) -> Iterator[tuple[int, ask.End]]:
        """Take ends; give each with the time when the function is told of it: never before the one in front of it."""
        self._received += len(found.ends)
        self._pending += len(found.ends)
        self._asked = self._asked and not found.ends and not found.last
        self._last = found.last
        for end in found.ends:
            self._at = max(self._at, end.at)
            yield self._at, end

    def deliver(self, end: ask.End) -> None:
        """Take one end of which the function is told now."""
        self._pending -= 1
        self._put(end)

    def _put(self, end: ask.End) -> None:
        group = ActionId.parse(end.action)
        index = member_index(group.action.rpartition(".")[0], group.action)
        if not self._told[index]:
            self._told[index] = 1
            self._ready.append((index, self._outcome(end)))

    # -- what is given -----------------------------------------------------------------------------------------------
    def __iter__(self) -> Coming[T]:
        return self

    def __next__(self) -> T:
        while not self._is_ready():
            self._want()
            self._parent.wait_for_news(self.number, self._has_news)
        return self._next(StopIteration)

    def __aiter__(self) -> Coming[T]:
        return self

    async def __anext__(self) -> T:
        turn = f"{self._name}/{self._given}"
        with self._parent.given_up.on_cancel(turn, self._group, CANCELLED):
            held = False
            while True:
                held = held or await self._parent.give_up_again(self._group, turn)
                if self._is_ready():
                    break
                self._want()
                if not self._has_news():
                    await self._parent.news(self.number)
        return self._next(StopAsyncIteration)

    def _next(self, end: type[Exception]) -> T:
        if not self._ready:
            self._read_rest()
        if not self._ready:
            raise end
        self._given += 1
        return self._shown(self._ready.popleft())

    def _is_ready(self) -> bool:
        return bool(self._ready) or (self._last and not self._pending)

    def _has_news(self) -> bool:
        return self._is_ready() or not (self._asked or self._pending)

    def _want(self) -> None:
        if not (self._asked or self._pending):
            self._asked = True
            self._parent.post(ask.Follow(self.number, self._group, self._received))

    def _read_rest(self) -> None:
        """Read the next part of what no list has: members that were never started, or that an earlier release stored."""
        index = self._told.find(0)
        if index < 0:
            return
        first = index - index % AT_ONCE
        for at, end in enumerate(
            self._parent.outcomes(self._group, first, min(first + AT_ONCE, self._members)), first
        ):
            if not self._told[at]:
                self._told[at] = 1
                self._ready.append((at, self._outcome(end)))

"""The results of a map as they come: one object for `for` and for `async for`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import ActionEnded, ResultTimeout
from reconciler.client.actions import Actions
from reconciler.client.awaiting import AsyncWaiter
from reconciler.client.outcomes import Outcomes
from reconciler.client.threads import in_thread
from reconciler.client.waiting import Waiter, is_over
from reconciler.core.children import member_index
from reconciler.core.results import AT_ONCE

T = TypeVar("T")
Outcome = tuple[int, Any | ActionEnded]
"""Index of a member, and its result or error."""


class AsCompleted(Iterator[T], AsyncIterator[T]):
    """Results of a map in the order in which its members end; see `Run.as_completed`."""

    def __init__(self, ends: Ends, shown: Callable[[Outcome], T], timeout: float | None) -> None:
        self._ends = ends
        self._shown = shown
        self._timeout = timeout
        self._plain: Generator[T] | None = None
        self._async: AsyncGenerator[T] | None = None

    def __iter__(self) -> AsCompleted[T]:
        return self

    def __next__(self) -> T:
        if self._plain is None:
            self._plain = self._plainly()
        return next(self._plain)

    def __aiter__(self) -> AsCompleted[T]:
        return self

    async def __anext__(self) -> T:
        if self._async is None:
            self._async = self._in_loop()
        return await anext(self._async)

    def _plainly(self) -> Generator[T]:
        ends = self._ends
        with Waiter(ends.actions.store, ends.group.run_id, self._timeout) as waiter:
            while True:
                found = ends.some()
                yield from map(self._shown, found)
                if not found and ends.over:
                    return
                if not found and not waiter.wait():
                    raise self._late()

    async def _in_loop(self) -> AsyncGenerator[T]:
        ends = self._ends
        async with AsyncWaiter(ends.actions.store, ends.group.run_id, self._timeout) as waiter:
            while True:
                found = await in_thread(ends.some)
                for outcome in found:
                    yield self._shown(outcome)
                if not found and ends.over:
                    return
                if not found and not await waiter.wait():
                    raise self._late()

    def _late(self) -> ResultTimeout:
        return ResultTimeout(
            f"{self._ends.group} had not ended after {self._timeout} s; it goes on: ask for its results again"
        )


class Ends:
    """A reader of the ends of the members of a group, in their order.

    Args:
        actions: of the installation.
        group: which group.
        members: how many it has.
        decode: reads the outputs of one.
    """

    def __init__(
        self, actions: Actions, group: ActionId, members: int, decode: Callable[[bytes], Any]
    ) -> None:
        self.actions = actions
        self.group = group
        self.over = False
        self._members = members
        self._decode = decode
        self._read = 0
        self._told = bytearray(members)

    def some(self) -> list[Outcome]:
        """Read the next ends, some hundred at most; none when nothing has ended since, or when all were read.

        Raises:
            ActionNotFound: the group is stored no more.
        """
        if self.over:
            return []
        record = self.actions.get(self.group)  # before the list: what ended before it is in the list
        names = [] if record.archived else self.actions.store.ended_children(self.group, self._read, AT_ONCE)
        if names:
            self._read += len(names)
            run = self.group.run_id
            outcomes = self.actions.outcomes([run.action(name) for name in names], self._decode)
            return self._noted(
                zip((member_index(self.group.action, name) for name in names), outcomes, strict=True)
            )
        return self._rest(record) if is_over(record) else []

    def _rest(self, record: TaskAction) -> list[Outcome]:
        """Read what no list has: members of an archived map, of an earlier release, or never started."""
        index = self._told.find(0)
        if index < 0:
            self.over = True
            return []
        first = index - index % AT_ONCE
        end = min(first + AT_ONCE, self._members)
        found = Outcomes(self.actions, record, self._members, self._decode).some(first, end)
        return self._noted(each for each in enumerate(found, first) if not self._told[each[0]])

    def _noted(self, found: Iterable[Outcome]) -> list[Outcome]:
        outcomes = list(found)
        for index, _ in outcomes:
            self._told[index] = 1
        return outcomes

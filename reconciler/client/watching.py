"""Follow the events of an action: one object for `for` and for `async for`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

from reconciler.api.action import ActionId
from reconciler.api.errors import ResultTimeout
from reconciler.api.event import ActionEvent
from reconciler.client.awaiting import AsyncWaiter, Queries
from reconciler.client.threads import in_thread
from reconciler.client.waiting import Waiter


class Watch(Iterator[ActionEvent], AsyncIterator[ActionEvent]):
    """Events of an action as they come, ending with the terminal one.

    In an event loop `async for` holds no thread; elsewhere `for` waits in the thread of its caller. Who drops it early
    listens no more.
    """

    def __init__(self, actions: Queries, action: ActionId, after: int, timeout: float | None) -> None:
        # Not held by the generators: in a circle with one, a watch that is dropped would listen on until it is collected.
        self._following = _Following(actions, action, after, timeout)
        self._plain: Generator[ActionEvent] | None = None
        self._async: AsyncGenerator[ActionEvent] | None = None

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> ActionEvent:
        if self._plain is None:
            self._plain = self._following.plainly()
        return next(self._plain)

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> ActionEvent:
        if self._async is None:
            self._async = self._following.in_loop()
        return await anext(self._async)

    def close(self) -> None:
        """End `for` early; `aclose` ends `async for`."""
        if self._plain is not None:
            self._plain.close()

    async def aclose(self) -> None:
        """End `async for` early."""
        if self._async is not None:
            await self._async.aclose()


class _Following:
    """A followed action, and how many of its events have been yielded."""

    def __init__(self, actions: Queries, action: ActionId, after: int, timeout: float | None) -> None:
        self._actions = actions
        self._action = action
        self._after = after
        self._timeout = timeout

    def plainly(self) -> Generator[ActionEvent]:
        with Waiter(self._actions.store, self._action.run_id, self._timeout) as waiter:
            while True:
                news, ended = self._look()
                yield from self._told(news)
                if ended:
                    return
                if not waiter.wait():
                    raise self._late()

    async def in_loop(self) -> AsyncGenerator[ActionEvent]:
        async with AsyncWaiter(self._actions.store, self._action.run_id, self._timeout) as waiter:
            while True:
                news, ended = await in_thread(self._look)
                for event in self._told(news):
                    yield event
                if ended:
                    return
                if not await waiter.wait():
                    raise self._late()

    def _look(self) -> tuple[list[ActionEvent], bool]:
        """Return the new events, and whether the last of them ended the action."""
        # Asked before the events: once it has ended all of them are there, or have been trimmed.
        ended = self._actions.get(self._action).phase.is_terminal()
        news = self._actions.events(self._action, self._after)
        return news, ended or any(event.final for event in news)

    def _told(self, news: list[ActionEvent]) -> Iterator[ActionEvent]:
        """Note events as yielded."""
        for event in news:
            self._after = event.sequence
            yield event

    def _late(self) -> ResultTimeout:
        return ResultTimeout(f"{self._action} had not ended after {self._timeout} s; it goes on: watch again")

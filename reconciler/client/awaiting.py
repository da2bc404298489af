"""Wait for the end of an action in an event loop: no thread waits, the notifier of the store wakes the loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Protocol, Self

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.api.bounds import check_timeout
from reconciler.api.errors import ResultTimeout
from reconciler.api.event import ActionEvent
from reconciler.client.threads import begin, begin_if_alive, in_thread
from reconciler.client.waiting import LOOK_AGAIN, LOOK_OFTEN, is_over, not_over, refuse_own
from reconciler.core.current import current_attempt
from reconciler.stores.base import Store


class Queries(Protocol):
    """Reads of actions that a waiter needs: those of `Actions`, or of one incarnation."""

    @property
    def store(self) -> Store:
        """The store, whose notifications say when there is something to see."""

    def get(self, action: ActionId) -> TaskAction:
        """Read one record."""

    def events(self, action: ActionId, after: int = 0) -> list[ActionEvent]:
        """Read the events so far with a sequence above `after`."""


class AsyncWaiter:
    """Waits in an event loop until something of a run is committed, or until the time limit; see `Waiter`."""

    def __init__(self, store: Store, run: RunId, timeout: float | None, *, end_of: str = "") -> None:
        left = check_timeout(timeout)
        self._until = None if left is None else time.monotonic() + left
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._subscription = store.subscribe(run, self._ring, end_of=end_of)
        self._entered: Future[None] | None = None

    def _ring(self) -> None:
        """Wake the loop from the thread that hears notifications, which must survive when a loop has ended meanwhile."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    async def __aenter__(self) -> Self:
        self._entered = begin(self._subscription.__enter__)
        try:
            await asyncio.wrap_future(self._entered)
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        self._leave()

    def _leave(self) -> None:
        """End the subscription once it has begun, without waiting: the loop may be ending, or have ended."""
        if self._entered is not None:
            self._entered.add_done_callback(partial(_end, self._subscription.__exit__))

    async def wait(self, *, often: bool = False) -> bool:
        """Wait, and tell whether to look again; `often` when no notification will come for what is waited for."""
        left = LOOK_OFTEN if often else LOOK_AGAIN
        if self._until is not None:
            left = min(left, self._until - time.monotonic())
        if left <= 0:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._event.wait()
        self._event.clear()
        return True


def _end(leave: Callable[[None, None, None], object], entered: Future[None]) -> None:
    if not entered.cancelled() and entered.exception() is None:
        begin_if_alive(partial(leave, None, None, None))


async def end_of(
    actions: Queries,
    action: ActionId,
    timeout: float | None = None,  # noqa: ASYNC109  # as the plain verb has it
    *,
    fresh: bool = False,
) -> TaskAction:
    """Wait for the end of an action and return its record, as `Actions.wait`. Cancelling ends only the wait.

    Raises:
        ActionNotFound: there is no such action.
        ResultTimeout: it has not ended in time; it goes on.
        EndlessWait: a task would wait for what waits for it.
    """
    if not fresh:
        record = await in_thread(actions.get, action)
        if is_over(record):
            return record
    if current_attempt() is not None:
        await in_thread(refuse_own, actions.store, action, timeout)
    async with AsyncWaiter(actions.store, action.run_id, timeout, end_of=action.action) as waiter:
        while True:
            record = await in_thread(actions.get, action)
            if is_over(record):
                return record
            if not await waiter.wait(often=record.phase.is_terminal()):
                raise ResultTimeout(not_over(record, timeout))

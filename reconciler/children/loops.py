"""Let coroutines wait in the one event loop of a call, and notice when the loop has nothing else to do.

Imported by whoever waits in a loop: asyncio costs 30 ms.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from math import inf
from typing import Any, Protocol

from reconciler.children.ahead import Ahead
from reconciler.children.errors import Suspended

_TICK = 0.02
_SHORTEST_TICK = 0.001
_SLOWEST_TICK = 0.2
"""Between two looks whether the loop has anything else to do, seconds: first, and at last."""


_TURNS = 100
"""Turns of the loop after which an end is reported although the loop is still busy."""


class Call(Protocol):
    """The call a loop belongs to (`Parent`), as far as the loop needs it."""

    suspended: bool

    @property
    def descriptor(self) -> int | None:
        """Return the descriptor that becomes readable when an answer comes; None if one must ask."""
        ...

    def receive(self) -> bool:
        """Take the answers that have come; tell whether there were any."""
        ...

    def wake(self) -> None:
        """Note the sleeps whose time has come."""
        ...

    def deliver(self, until: float = inf) -> bool:
        """Report the next end up to a time, ms; False when there is none."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Tell whether a request is still without an answer."""
        ...

    def rests(self, until: float = inf) -> bool:
        """Tell whether everything is answered, and every end up to a time (ms) is reported."""
        ...

    def sleeps_until(self, numbers: list[int]) -> float | None:
        """Return when the first of these sleeps ends, ms; None when one of them is not a sleep."""
        ...

    def may_suspend(self, idle: float, until: float | None = None) -> bool:
        """Tell whether to suspend after this many seconds without news."""
        ...

    def suspend(self) -> None:
        """Suspend the call."""
        ...


class Loops:
    """The waits of one call.

    Args:
        call: whose.
        threads: how many threads there were before it.
    """

    def __init__(self, call: Call, threads: int) -> None:
        self._call = call
        self._threads = threads
        self._futures: dict[int, list[asyncio.Future[None]]] = defaultdict(list)
        self._held: dict[asyncio.Future[None], int] = {}
        self._ahead = Ahead()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._telling = False
        self._idle = 0.0
        self._tick = _TICK

    def awaited(self) -> list[int]:
        """List the numbers of what is waited for."""
        return [number for number, futures in self._futures.items() if futures]

    def resolve(self, number: int) -> None:
        """Wake who waits for a number."""
        for future in self._futures.pop(number, ()):
            loop = future.get_loop()
            loop.call_soon_threadsafe(_wake, future)
        self._idle = time.monotonic()
        self._tick = _TICK

    async def future(self, number: int) -> None:
        """Wait until a number is resolved."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._futures[number].append(future)
        self._listen(loop)
        try:
            await future
        finally:
            left = self._futures.get(number)
            if left and future in left:
                left.remove(future)

    async def hold(self, told: int) -> None:
        """Wait to be cancelled, as in the pass before; end when nothing is left that could cancel it.

        Args:
            told: when the newest end was that the pass before had been told of, ms: newer ones are told later.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._held[future] = told
        self._listen(loop)
        try:
            await future
        finally:
            del self._held[future]

    def end(self) -> None:
        """End the loop with its call."""
        self.close()
        self._ahead.end()

    def close(self) -> None:
        """Stop listening."""
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed() and self._call.descriptor is not None:
            loop.remove_reader(self._call.descriptor)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is loop:
            return
        self._loop, self._idle = loop, time.monotonic()
        if self._call.descriptor is not None:
            loop.add_reader(self._call.descriptor, self._receive, loop)
        loop.call_soon(self._look, loop)

    def _receive(self, loop: asyncio.AbstractEventLoop) -> None:
        self._call.receive()
        self._call.wake()
        if not self._telling:
            self._telling = True
            self._tell(loop, _TURNS)

    def _tell(self, loop: asyncio.AbstractEventLoop, turns: int) -> None:
        """Report ends one after the other, each when everything that the one before caused has been done.

        So the function takes the same way in a pass in which all have ended as in the one in which they ended one by one.
        """
        others: Any = getattr(loop, "_ready", ())
        if self._call.is_waiting:
            self._telling = False  # until the answer has come
        elif turns and others:
            loop.call_soon(self._tell, loop, turns - 1)
        elif self._call.deliver(self._until()):
            loop.call_soon(self._tell, loop, _TURNS)
        else:
            self._telling = False

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take what has come, wake finished sleeps, and suspend the call if it has nothing else to do."""
        if self._loop is not loop:
            return
        if not self._held and not any(self._futures.values()):
            self.close()
            return
        call = self._call
        self._receive(loop)
        timers = _is_quiet(loop, call.descriptor, self._threads)
        if call.suspended or (timers == 0 and self._may_suspend()):
            self._suspend()
            return
        if self._held and timers is not None and call.rests(self._until()):
            self._go_on(loop, timers)
        loop.call_later(self._tick, self._look, loop)
        self._tick = min(self._tick * 1.2, _SLOWEST_TICK)

    def _until(self) -> float:
        """Return the time up to which ends may be reported, ms."""
        return min(self._held.values(), default=inf)

    def _go_on(self, loop: asyncio.AbstractEventLoop, timers: int) -> None:
        """Make the next timer fire: sooner or later one cancels the held wait. Without any, let the first wait go on."""
        if timers:
            self._ahead.to_next_timer(loop)
            self._tick = _SHORTEST_TICK
        elif not (self.awaited() and self._call.rests()):
            _wake(min(self._held, key=self._held.__getitem__))

    def _may_suspend(self) -> bool:
        if not self.awaited():
            return False
        idle = time.monotonic() - self._idle
        return self._call.may_suspend(idle, self._call.sleeps_until(self.awaited()))

    def _suspend(self) -> None:
        if not self._call.suspended:
            self._call.suspend()
        for task in asyncio.all_tasks(self._loop):
            task.add_done_callback(_retrieved)
        for futures in (self._held, *self._futures.values()):
            for future in list(futures):
                if not future.done():
                    future.set_exception(Suspended())
        self.close()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _is_quiet(loop: asyncio.AbstractEventLoop, descriptor: int | None, threads_before: int) -> int | None:
    """Count the timers of a loop in which nothing else can go on by itself: no callback, connection or thread; else None.

    A loop that cannot tell (another implementation) counts as busy: its function waits in place.
    """
    selector = getattr(loop, "_selector", None)
    if selector is None or not hasattr(loop, "_ready") or loop._ready:  # noqa: SLF001  # nothing public tells
        return None
    own = 1 + (descriptor is not None)
    if len(selector.get_map() or ()) > own:
        return None
    executor = getattr(loop, "_default_executor", None)
    threads = len(executor._threads) if executor is not None else 0  # noqa: SLF001  # as above
    if executor is not None and _works(executor, threads):
        return None
    if threading.active_count() - threads_before > threads:
        return None
    return sum(not timer.cancelled() for timer in getattr(loop, "_scheduled", ()))


def _works(executor: Any, threads: int) -> bool:  # noqa: ANN401  # its parts are not public
    """Tell whether a thread of a pool has work."""
    return bool(executor._work_queue.qsize()) or executor._idle_semaphore._value < threads  # noqa: SLF001  # as above


def _retrieved(task: asyncio.Task[object]) -> None:
    """Keep the loop from logging, for each task that waited, that its suspension was never retrieved."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not _is_suspension(error):
        context = {
            "message": "a task failed while its function was suspended",
            "exception": error,
            "task": task,
        }
        task.get_loop().call_exception_handler(context)


def _is_suspension(error: BaseException) -> bool:
    """Tell whether an error is the suspension alone; several tasks of a group raise it together."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(Suspended)[1] is None
    return isinstance(error, Suspended)

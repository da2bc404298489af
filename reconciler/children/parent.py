"""The side of the function's process: what a running function asks for, and how it waits for answers.

A function that has nothing to do but wait is suspended: `Suspended` is raised where it waits, its process takes other calls,
and when what it waits for has ended it is called again, and finds all it has asked for before.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from reconciler.api import errors
from reconciler.api.errors import ResultTimeout
from reconciler.children import requests as ask
from reconciler.children.arrivals import Arrivals
from reconciler.children.errors import Suspended, error_of, nothing_comes
from reconciler.children.in_flight import InFlight
from reconciler.children.streams import Streams
from reconciler.children.way import Way
from reconciler.core.current import CurrentAttempt

if TYPE_CHECKING:
    from reconciler.children.loops import Loops
    from reconciler.core.signature import Signature

MOST = 10_000
"""Most requests of one pass: all of them are repeated by the next one."""
_TICK = 0.02
_SLOWEST_TICK = 0.2
_SLICE = 1.0


class Parent:
    """The running call, as one that may have children.

    Args:
        attempt: which attempt it is.
        way: to its supervisor.
        signature: of the function.
        patience: how long to wait in place before it is suspended, seconds.
        suspends: whether it may be suspended at all.
    """

    def __init__(
        self,
        attempt: CurrentAttempt,
        way: Way,
        signature: Signature,
        *,
        patience: float,
        suspends: bool = True,
    ) -> None:
        self.attempt = attempt
        self.again: bytes | None = None
        self._signature = signature
        self.suspended = False
        self._way = way
        self._patience = patience
        self._suspends = suspends
        self._number = self._counted = 0
        self._waits: list[int] = []
        self._wakes = 0
        self._asked: Counter[str] = Counter()
        self._open: set[int] = set()
        self._answers: dict[int, ask.Answer] = {}
        self.streams = Streams()
        self._members: dict[int, list[ask.End]] = defaultdict(list)
        self._arrived = Arrivals()
        self._ends: dict[int, ask.End] = {}
        self._new: list[int] = []
        self._watched: set[int] = set()
        self._seen: set[int] = set()
        self._waiting: Counter[int] = Counter()
        self._until: dict[int, float] = {}
        self._clock: tuple[int, float] = (0, 0.0)
        self._hurry = False
        self._lock = threading.RLock()
        self._loops: Loops | None = None
        self._threads = threading.active_count()
        self.in_flight = InFlight()

    # -- asking ------------------------------------------------------------------------------------------------------
    def number(self) -> int:
        """Draw the number of the next request.

        Raises:
            HistoryTooLong: the function has asked for too much.
        """
        self._counted += 1
        if self._counted > MOST:
            raise errors.HistoryTooLong(MOST)
        return self.reading()

    def reading(self) -> int:
        """Give the number of a request that only reads results: as cheap in the next pass as in this one, so not counted."""
        self._number += 1
        return self._number

    def asked(self, digest: str) -> int:
        """Tell how often exactly that was asked for before."""
        self._asked[digest] += 1
        return self._asked[digest] - 1

    def post(self, request: ask.Request) -> int:
        """Send a request that is answered; its number."""
        self.check()
        number: int = request.number  # type: ignore[union-attr]  # all but Suspending have one
        with self._lock:
            self._open.add(number)
            self._way.post(request)
        return number

    def check(self) -> None:
        """Raise again what was not let pass.

        Raises:
            Suspended: the function is suspended.
        """
        if self.suspended:
            raise Suspended

    def answer(self, number: int) -> ask.Answer:
        """Wait for the answer to a request.

        Raises:
            ReconcilerError: it was refused.
        """
        while number not in self._answers:
            self.check()
            self._receive(_SLICE)
        found = self._answers[number]
        if isinstance(found, ask.Refused):
            raise error_of(found.kind, found.message)
        return found

    def settle(self) -> None:
        """Wait until all that was started is stored, before the call ends.

        Raises:
            ReconcilerError: something was refused, and nobody has asked what became of it.
        """
        if self.suspended:
            return
        while self._open:
            self._receive(_SLICE)
        for number, found in list(self._answers.items()):
            if isinstance(found, ask.Refused) and number not in self._seen:
                raise error_of(found.kind, found.message)

    def receive(self) -> bool:
        """Take the answers that have come; whether there were any."""
        return self._receive(0)

    def _receive(self, seconds: float) -> bool:
        if not self._lock.acquire(timeout=seconds if seconds > 0 else -1):
            return False
        try:
            came = self._way.receive(seconds)
            for found in came:
                self._take(found)
            return bool(came)
        finally:
            self._lock.release()

    def _take(self, found: ask.Answer) -> None:
        if isinstance(found, ask.Hurry):
            self._hurry = True
            return
        if isinstance(found, ask.Kept):
            self._clock = (found.now, time.monotonic())
        if isinstance(found, ask.End):
            self._arrived.add(found.at, found.number, found)
            return
        if isinstance(found, ask.Ends) and self.streams.take(found, self._arrived):
            self._open.discard(found.number)
            self._resolve(found.number)
            return
        if isinstance(found, ask.Ends):
            self._members[found.number] += found.ends
            if not found.last:
                return
        self._answers[found.number] = found
        self._open.discard(found.number)
        if isinstance(found, ask.Refused):
            self._resolve(found.number)

    def deliver(self) -> bool:
        """Tell of the next end, the earliest first; False when there is none."""
        if not self._arrived:
            return False
        number, end = self._arrived.next()
        if end is not None and not self.streams.deliver(number, end):
            self._ends[number] = end
        self._until.pop(number, None)
        self._resolve(number)
        return True

    @property
    def is_waiting(self) -> bool:
        """Tell whether a request is not answered yet: what it brings may have ended before what is known."""
        return bool(self._open)

    # -- the end of a child --------------------------------------------------------------------------------------------
    def has_ended(self, number: int) -> bool:
        """Tell whether the child is known to have ended, or was refused."""
        return number in self._ends or isinstance(self._answers.get(number), ask.Refused)

    def end(self, number: int) -> ask.End:
        """Return the end of a child that is known to have ended.

        Raises:
            ReconcilerError: it was refused.
        """
        refused = self._answers.get(number)
        if isinstance(refused, ask.Refused):
            raise error_of(refused.kind, refused.message)
        return self._ends[number]

    def wait(self, number: int, timeout: float | None = None) -> ask.End:
        """Wait for the end of a child, in this thread.

        Raises:
            ResultTimeout: it has not ended within `timeout` seconds.
            ReconcilerError: it was refused.
        """
        self.watch(number, limited=timeout is not None)
        self._block(lambda: self.has_ended(number), number, timeout)
        return self.end(number)

    async def wait_async(self, number: int) -> ask.End:
        """Wait for the end of a child; the loop goes on meanwhile. Whoever cancels this aborts the child."""
        self.watch(number)
        if not self.has_ended(number):
            try:
                await self._in_loop().future(number)
            except BaseException as error:
                if not self.suspended and not isinstance(error, Suspended):
                    self.post(ask.Abort(self.number(), number, "its parent has cancelled the wait for it"))
                raise
        return self.end(number)

    def watch(self, number: int, *, limited: bool = False) -> None:
        """Have the end of a child told, and those of all that were started since: they will hardly be asked for later."""
        self.check()
        self._seen.add(number)
        if number not in self._watched:
            new = [*self._new, *([] if number in self._new else [number])]
            self._new.clear()
            self._watched.update(new)
            self.post(ask.Watch(self.number(), new, limited))

    def wait_for_news(self, number: int, ready: Callable[[], bool]) -> None:
        """Wait until a stream has news, in this thread."""
        self._block(ready, number, None)

    async def news(self, number: int, ready: Callable[[], bool]) -> None:
        """Wait until a stream has news; the loop goes on meanwhile."""
        while not ready():
            await self._in_loop().future(number)

    def started(self, number: int) -> None:
        """Note a child, whose end will be asked for."""
        self._new.append(number)

    def outcomes(self, group: int, first: int = 0, end: int = 0) -> list[ask.End]:
        """Return the ends of members of a group that has ended; of all without a range."""
        number = self.post(ask.Outcomes(self.reading() if end else self.number(), group, first, end))
        self.answer(number)
        self._answers[number] = ask.Done(number)  # nobody asks for it again, and it may be large
        return self._members.pop(number)

    # -- time ----------------------------------------------------------------------------------------------------------
    def now(self) -> float:
        """Return the store's time, as far as it is known, ms."""
        at, then = self._clock
        return at + (time.monotonic() - then) * 1000

    def sleep(self, number: int, until: int) -> None:
        """Wait until a time of the store, ms."""
        self._until[number] = until
        self._block(lambda: self.now() >= until, number, None, until)
        self._until.pop(number, None)

    async def sleep_async(self, number: int, until: int) -> None:
        """Sleep as `sleep` does; the loop goes on meanwhile."""
        self._until[number] = until
        try:
            await self._in_loop().future(number)
        finally:
            self._until.pop(number, None)

    def wake(self) -> None:
        """Note the sleeps whose time has come."""
        now = self.now()
        for number, until in list(self._until.items()):
            if until <= now:
                del self._until[number]
                self._arrived.add(until, number)

    def sleeps_until(self, numbers: list[int]) -> float | None:
        """Tell when the first of these wakes, ms; None when one of them is no sleep."""
        times = [self._until.get(number) for number in numbers]
        known = [time for time in times if time is not None]
        return min(known) if known and len(known) == len(times) else None

    # -- being suspended -------------------------------------------------------------------------------------------------
    def _block(
        self, ready: Callable[[], bool], number: int, timeout: float | None, until: float | None = None
    ) -> None:
        began = idle = time.monotonic()
        self._waiting[number] += 1
        try:
            while not ready():
                self.check()
                if self.deliver():
                    idle = time.monotonic()
                    continue
                now = time.monotonic()
                if timeout is not None and now - began >= timeout:
                    raise ResultTimeout(
                        f"it had not ended after {timeout} s; it goes on: wait again, or abort it"
                    )
                if not self._way.brings and (timeout is not None or not _is_main()):
                    raise nothing_comes(timeout)
                if timeout is None and _is_main() and self.may_suspend(now - idle, until):
                    self.suspend()
                    raise Suspended
                left = min(_TICK, _SLICE if timeout is None else timeout - (now - began))
                if self._receive(max(left, 0.001)):
                    idle = time.monotonic()
        finally:
            self._waiting[number] -= 1
            self._waiting += Counter()

    def may_suspend(self, idle: float, until: float | None = None) -> bool:
        """Tell whether to suspend after `idle` seconds without news; `until`: when the wait ends, if known, ms."""
        if not self._suspends or self._open or self._arrived:
            return False
        if until is not None and self.now() + self._patience * 1000 < until:
            return True
        return self._hurry or idle >= self._patience

    def suspend(self) -> None:
        """Suspend the call: from now on whatever it asks raises."""
        self.suspended = True
        self._waits = [number for number in self._awaited() if number not in self._until]
        self._wakes = int(min(self._until.values(), default=0))
        with self._lock:
            self._way.post(ask.Suspending())

    def start_over(self, args: Sequence[object], kwargs: Mapping[str, object]) -> NoReturn:
        """End the call, and have it called anew with these arguments and nothing of what it has asked for.

        Raises:
            InvalidArguments: they do not fit the function.
            ReconcilerError: something it has started was refused, and nobody has asked what became of it.
            Suspended: always.
        """
        again = self._signature.encode_arguments(args, kwargs)
        self.settle()
        self.again = again
        self.suspend()
        raise Suspended

    def _awaited(self) -> list[int]:
        """List the numbers of all that is waited for, in threads and in the loop."""
        return [*self._waiting, *(self._loops.awaited() if self._loops is not None else ())]

    def waits(self) -> tuple[list[int], int]:
        """Give what a suspended call waits for: requests, and a time (ms; 0 = none)."""
        return self._waits, self._wakes

    @property
    def descriptor(self) -> int | None:
        """Give what becomes readable when an answer comes."""
        return self._way.descriptor

    def close(self) -> None:
        """Let go of the event loop."""
        if self._loops is not None:
            self._loops.close()

    def _in_loop(self) -> Loops:
        if self._loops is None:
            from reconciler.children.loops import Loops  # noqa: PLC0415  # asyncio: 30 ms, only where needed

            self._loops = Loops(self, self._threads)
        return self._loops

    def _resolve(self, number: int) -> None:
        if self._loops is not None:
            self._loops.resolve(number)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()

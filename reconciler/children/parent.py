"""The side of the function's process: it sends the requests of a function and waits for the answers.

A function that has nothing to do but wait is suspended: `Suspended` is raised where it waits, its process takes other calls,
and when what it waits for has ended it is called again, and finds all it has asked for before.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, NoReturn

from reconciler.api.errors import HistoryTooLong, ResultTimeout
from reconciler.children import requests as ask
from reconciler.children.arrivals import Arrivals
from reconciler.children.checks import check_thread
from reconciler.children.errors import Suspended, error_of, not_in_time
from reconciler.children.giving_up import GivenUp, wait_name
from reconciler.children.in_flight import InFlight
from reconciler.children.sleeps import Sleeps
from reconciler.children.streams import Streams
from reconciler.children.threads import Threads
from reconciler.children.way import Way
from reconciler.core.current import CurrentAttempt
from reconciler.core.paths import is_relaunch

if TYPE_CHECKING:
    from reconciler.children.loops import Loops
    from reconciler.core.signature import Signature

MOST = 10_000
"""Most requests of one pass: all of them are repeated by the next one."""
_SLICE = 1.0
CANCELLED = "its parent has cancelled the wait for it"


class Parent:
    """The running call, as one that may have children.

    Args:
        attempt: which attempt it is.
        way: to its supervisor.
        signature: of the function.
        patience: how long to wait in place before it is suspended, seconds.
        suspends: whether it may be suspended at all.
        replays: whether the attempt may have called it before; by default as the name of the launch tells.
    """

    def __init__(
        self,
        attempt: CurrentAttempt,
        way: Way,
        signature: Signature,
        *,
        patience: float,
        suspends: bool = True,
        replays: bool | None = None,
    ) -> None:
        self.attempt = attempt
        self.again: bytes | None = None
        self._signature = signature
        self._way = way
        self._patience, self._suspends = patience, suspends
        self._replays = is_relaunch(attempt.launch) if replays is None else replays
        self._number = self._counted = self._wakes = 0
        self._waits: list[int] = []
        self._asked: dict[str, int] = defaultdict(int)
        self._open: set[int] = set()
        self._answers: dict[int, ask.Answer] = {}
        self.streams = Streams()
        self._members: dict[int, list[ask.End]] = defaultdict(list)
        self._arrived = Arrivals()
        self._ends: dict[int, ask.End] = {}
        self._new: list[int] = []
        self._watched: dict[int, int] = {}
        self._seen: set[int] = set()
        self._sleeps = Sleeps()
        self.given_up = GivenUp(self)
        self._hurry = self.suspended = False
        self._lock = threading.RLock()
        self._loops: Loops | None = None
        self._threads = Threads(self, brings=way.brings)
        self._threads_before, self._thread = threading.active_count(), threading.get_ident()
        self.in_flight = InFlight()

    # -- asking ------------------------------------------------------------------------------------------------------
    def number(self) -> int:
        """Draw the number of the next request.

        Raises:
            HistoryTooLong: the function has asked for too much.
        """
        self._counted += 1
        if self._counted > MOST:
            raise HistoryTooLong(MOST)
        return self.reading()

    def reading(self) -> int:
        """Give the number of a request that only reads results: as cheap in the next pass as in this one, so not counted."""
        self._number += 1
        return self._number

    def asked(self, digest: str) -> int:
        """Count how often exactly this was asked for before."""
        self._asked[digest] += 1
        return self._asked[digest] - 1

    def post(self, request: ask.Request) -> int:
        """Send a request that is answered; return its number."""
        self.check()
        number: int = request.number  # type: ignore[union-attr]  # what is answered has one
        with self._lock:
            self._way.post(request)
            self._open.add(number)
        return number

    def tell(self, request: ask.Request) -> None:
        """Send a request that is not answered."""
        with self._lock:
            self._way.post(request)

    def check(self) -> None:
        """Raise again the error that ended the call.

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
            self.receive(_SLICE)
        found = self._answers[number]
        if isinstance(found, ask.Refused):
            raise error_of(found.kind, found.message)
        return found

    def settle(self) -> None:
        """Wait until everything that was started is stored, before the call ends.

        Raises:
            ReconcilerError: something was refused, and nobody has asked for its result.
        """
        if self.suspended:
            return
        while self._open:
            self.receive(_SLICE)
        for number, found in list(self._answers.items()):
            if isinstance(found, ask.Refused) and number not in self._seen:
                raise error_of(found.kind, found.message)

    def receive(self, seconds: float = 0) -> bool:
        """Take the answers that come within this many seconds; tell whether there were any."""
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
        if isinstance(found, ask.GivenUp):
            self.given_up.learn(found.waits)
            return
        if isinstance(found, ask.Kept):
            self._sleeps.set_clock(found.now)
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
        if isinstance(found, ask.Refused | ask.Done):
            self._resolve(found.number)

    def deliver(self, until: float = inf) -> bool:
        """Report the next end, the earliest first, none after a time (ms); False when there is none."""
        if not self._arrived.until(until):
            return False
        at, number, end = self._arrived.next()
        self.given_up.told = max(self.given_up.told, int(at))
        if end is not None and not self.streams.deliver(number, end):
            self._ends[number] = end
        self._sleeps.end(number)
        self._resolve(number)
        return True

    @property
    def is_waiting(self) -> bool:
        """Tell whether a request is without an answer: its answer may have an earlier end than those known."""
        return bool(self._open)

    def rests(self, until: float = inf) -> bool:
        """Tell whether everything is answered, and every end up to a time (ms) is reported."""
        return not self._open and not self._arrived.until(until)

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
        """Wait in this thread for the end of a child.

        Raises:
            ResultTimeout: it has not ended within `timeout` seconds, or had not in the pass before.
            ReconcilerError: it was refused.
        """
        turn = self.given_up.turn(number)
        self.watch(number, limited=timeout is not None)
        try:
            self._threads.block(
                lambda: self.has_ended(number) or self._gave_up(number, turn), number, timeout
            )
            if timeout is not None and self._gave_up(number, turn):
                raise not_in_time(timeout)
        except ResultTimeout:
            self.given_up.keep(str(turn), number)
            raise
        return self.end(number)

    async def wait_async(self, number: int) -> ask.End:
        """Wait for the end of a child; the loop goes on meanwhile. Cancelling this wait aborts the child."""
        turn = self.given_up.turn(number)
        self.watch(number)
        with self.given_up.on_cancel(str(turn), number, CANCELLED):
            if self._replays and self._watched[number] in self._open:
                await self._in_loop().future(self._watched[number])
            await self.give_up_again(number, turn)
            if not self.has_ended(number):
                await self._in_loop().future(number)
        return self.end(number)

    def _gave_up(self, number: int, turn: int) -> bool:
        """Tell whether an earlier pass has given up this wait for a child."""
        return self._name_wait(number, turn) in self.given_up

    def _name_wait(self, number: int, turn: int | str) -> str:
        """Name a wait for a child; empty while it is not known to be stored."""
        started = self._answers.get(number)
        return wait_name(started.action, turn) if isinstance(started, ask.Started) else ""

    async def give_up_again(self, number: int, turn: int | str) -> bool:
        """Wait to be cancelled if the pass before gave up this wait for a child; tell whether it did."""
        return await self.given_up.again(self._name_wait(number, turn))

    async def hold(self, told: int) -> None:
        """Wait to be cancelled; meanwhile report only ends until this time."""
        await self._in_loop().hold(told)

    def watch(self, number: int, *, limited: bool = False) -> None:
        """Ask for news of a child and of all that were started since: few of them will be asked for one by one."""
        self.check()
        self._seen.add(number)
        if number not in self._watched:
            new = [*self._new, *([] if number in self._new else [number])]
            self._new.clear()
            watch = self.post(ask.Watch(self.number(), new, limited))
            self._watched.update(dict.fromkeys(new, watch))

    def wait_for_news(self, number: int, ready: Callable[[], bool]) -> None:
        """Wait until a stream has news, in this thread."""
        self._threads.block(ready, number)

    async def news(self, number: int) -> None:
        """Wait until a stream may have news; the loop goes on meanwhile."""
        await self._in_loop().future(number)

    def started(self, number: int) -> None:
        """Note a child, whose end will be asked for."""
        self._new.append(number)

    def outcomes(self, group: int, first: int = 0, end: int = 0) -> list[ask.End]:
        """Return the ends of members of an ended group; without a range, of all."""
        number = self.post(ask.Outcomes(self.reading() if end else self.number(), group, first, end))
        self.answer(number)
        self._answers[number] = ask.Done(number)  # nobody asks for it again, and it may be large
        return self._members.pop(number)

    # -- time ----------------------------------------------------------------------------------------------------------
    def sleep(self, number: int, until: int) -> None:
        """Wait until a time of the store, ms."""
        self._sleeps.begin(number, until)
        self._threads.block(lambda: self._sleeps.now() >= until, number, None, until)
        self._sleeps.end(number)

    async def sleep_async(self, number: int, until: int, name: str) -> None:
        """Sleep as `sleep` does; the loop goes on meanwhile."""
        try:
            with self.given_up.on_cancel(name):
                await self.given_up.again(name)
                self._sleeps.begin(number, until)
                await self._in_loop().future(number)
        finally:
            self._sleeps.end(number)

    def wake(self) -> None:
        """Note the sleeps whose time has come."""
        self._sleeps.wake(self._arrived)

    def sleeps_until(self, numbers: list[int]) -> float | None:
        """Tell when the first of these wakes, ms; None when one of them is no sleep."""
        return self._sleeps.first_of(numbers)

    # -- being suspended -------------------------------------------------------------------------------------------------
    def is_looked_at(self, number: int) -> bool:
        """Tell whether the ends of what is waited for were looked up at least once."""
        return self._watched.get(number) not in self._open

    def may_suspend(self, idle: float, until: float | None = None) -> bool:
        """Tell whether to suspend after `idle` seconds without news; `until`: when the wait ends, if known, ms."""
        if not self._suspends or self._open or self._arrived:
            return False
        if until is not None and self._sleeps.now() + self._patience * 1000 < until:
            return True
        return self._hurry or idle >= self._patience

    def suspend(self) -> None:
        """Suspend the call: from now on everything it asks raises."""
        self.suspended = True
        self._waits = [number for number in self._awaited() if number not in self._sleeps]
        self._wakes = self._sleeps.first()
        self.tell(ask.Suspending())

    def start_over(self, args: Sequence[object], kwargs: Mapping[str, object]) -> NoReturn:
        """End the call, to be called again with these arguments and without anything it has asked for.

        Raises:
            InvalidInput: this is a thread that the function has started, or they do not fit the function.
            ReconcilerError: something it has started was refused, and nobody has asked for its result.
            Suspended: always.
        """
        check_thread(self._thread)
        again = self._signature.encode_arguments(args, kwargs)
        self.settle()
        self.again = again
        self.suspend()
        raise Suspended

    def _awaited(self) -> list[int]:
        """List the numbers of all that is waited for, in threads and in the loop."""
        return [*self._threads.awaited(), *(self._loops.awaited() if self._loops is not None else ())]

    def waits(self) -> tuple[list[int], int]:
        """Return what a suspended call waits for: requests, and a time (ms; 0 = none)."""
        return self._waits, self._wakes

    @property
    def descriptor(self) -> int | None:
        """Give what becomes readable when an answer comes."""
        return self._way.descriptor

    def close(self) -> None:
        """Let go of the event loop."""
        if self._loops is not None:
            self._loops.end()

    def _in_loop(self) -> Loops:
        if self._loops is None:
            from reconciler.children.loops import Loops  # noqa: PLC0415  # asyncio: 30 ms, only where needed

            self._loops = Loops(self, self._threads_before)
        return self._loops

    def _resolve(self, number: int) -> None:
        if self._loops is not None:
            self._loops.resolve(number)

"""Run launches in the slot of a function that waits: beside it, in a second process of functions, one at a time.

A function that awaits one child after the other holds a slot and does nothing meanwhile. So its process takes the ticket it
would have to send, as any worker does that has a free slot: it picks and draws by the same verbs, and gets what is next in
line, which may be another's. What it may not take, or not at once, is sent as ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

import structlog

from reconciler.api.errors import Unavailable
from reconciler.children.driving import Slot
from reconciler.core.line import read_line, weights_of
from reconciler.stores.lines import Draw, Pick, Served
from reconciler.tickets import announce_queue
from reconciler.wiring import Engine
from worker.attempts import runners
from worker.attempts.batch import Batch
from worker.attempts.flower import Telling
from worker.attempts.threads import Threads
from worker.runner.runner import NotStarted, Stopped

log = structlog.get_logger(__name__)

_KEPT = 30.0
"""Seconds the second process is kept after its last call: it costs memory."""

_OFTEN = 8
"""How many tickets could have been taken here until there is a second process."""
_LEAVES = 2.0
"""Seconds it may take to end."""


class Beside:
    """The second runner of a process, with the thread it belongs to: what a thread has started ends with the thread.

    Attributes:
        last: the work on the ticket that was taken last, if any was.
    """

    def __init__(self) -> None:
        self._thread = Threads(1, thread_name_prefix="reconciler-beside")
        self._lock = threading.Lock()
        self.last: Future[None] | None = None
        self._warming = self._ready = self._taken = False
        self._used = 0.0
        self._missed = 0
        self._timer: threading.Timer | None = None

    def take(self, seat: Seat, waits: Callable[[], bool], *, first: bool) -> bool:
        """See `Slot.take`; `seat` tells whose slot it is."""
        with self._lock:
            if not self._ready:
                self._wanted(seat)
            if not self._ready or self._taken:
                return False
            self._taken = True
        try:
            self.last = self._thread.submit(self._serve, seat, waits, first)
        except RuntimeError:  # no thread is left on this host
            self._taken = False
            return False
        return True

    def _wanted(self, seat: Seat) -> None:
        """Start the second process when it was wanted often: its imports run while nobody waits for them."""
        self._missed += 1
        if self._missed >= _OFTEN and not self._warming:
            with suppress(
                RuntimeError
            ):  # no thread is left on this host: it is tried again with the next ticket
                self._thread.submit(self._warm, seat)
                self._warming = True

    def rest(self) -> None:
        """Wait until nothing runs here: the slot is needed, or given back."""
        if self.last is not None:
            self.last.result()

    def close(self) -> None:
        """End the second process, with its own process."""
        if self._warming:
            with suppress(RuntimeError, TimeoutError):
                self._thread.submit(runners.close_runner).result(_LEAVES)
        if self._timer is not None:
            self._timer.cancel()

    # -- in its thread -----------------------------------------------------------------------------------------------
    def _warm(self, seat: Seat) -> None:
        try:
            found = runners.runner_of(seat.engine).functions()
            self._ready = not isinstance(found, NotStarted | Stopped)
        except Exception:
            log.exception("line.failed", queue=seat.queue)
        finally:
            self._used = time.monotonic()
            self._later()  # also what failed is closed, and can be wanted again

    def _later(self) -> None:
        self._timer = threading.Timer(_KEPT, lambda: self._thread.submit(self._may_close))
        self._timer.daemon = True
        self._timer.start()

    def _may_close(self) -> None:
        """End the second process, when it has not been used for a while."""
        with self._lock:
            ends = not self._taken and time.monotonic() - self._used >= _KEPT
            if ends:
                self._warming = self._ready = False
                self._missed = 0
        if ends:
            runners.close_runner()
        else:
            self._later()

    def _serve(self, seat: Seat, waits: Callable[[], bool], first: bool) -> None:  # noqa: FBT001  # as it is submitted
        try:
            self._draw(seat, waits, ticket=first)
        except (
            Unavailable
        ) as error:  # leases end, and the resync sweep sends a ticket once the server is back
            log.warning("line.unavailable", queue=seat.queue, error=str(error))
        except Exception:
            log.exception("line.failed", queue=seat.queue)
        finally:
            self._used = time.monotonic()

    def _draw(self, seat: Seat, waits: Callable[[], bool], *, ticket: bool) -> None:
        """Draw and run, one after the other, as long as the function waits and the ticket of nobody else is taken."""
        served: tuple[Served, ...] = ()
        first = True
        try:
            while True:
                pick = seat.pick(served, first=first and ticket, choose=waits())
                if not pick.line or not (first or self._goes_on()):
                    break
                first = False
                served = (seat.call(pick),)
                self._taken = False
        finally:
            if first:
                self._taken = False
        if pick.lines:
            announce_queue(seat.engine.store, seat.engine.messenger, seat.queue)

    def _goes_on(self) -> bool:
        """Tell whether one more may be drawn for the ticket that was taken; a newer ticket waits behind it else."""
        with self._lock:
            free, self._taken = not self._taken, True
            return free


class Seat:
    """The slot of a process, for as long as it works on one ticket.

    Args:
        engine: of the process.
        queue: whose tickets it takes.
        worker: its name.
        owner: who holds what is drawn.
        telling: tells Flower.
        beside: the second runner.
    """

    def __init__(
        self, engine: Engine, queue: str, worker: str, owner: str, telling: Telling, beside: Beside
    ) -> None:
        self.engine = engine
        self.queue = queue
        self._worker = worker
        self._owner = owner
        self._telling = telling
        self._beside = beside
        self._lease = int(engine.settings.attempt_lease.total_seconds() * 1000)

    def take(self, queue: str, waits: Callable[[], bool], *, first: bool) -> bool:
        """See `Slot.take`."""
        return queue == self.queue and self._beside.take(self, waits, first=first)

    def pick(self, served: tuple[Served, ...], *, first: bool, choose: bool) -> Pick:
        """Pick a line, as who has taken a ticket does."""
        return self.engine.store.pick(
            self.queue, worker=self._worker, served=served, first=first, choose=choose
        )

    def draw(self, pick: Pick, limit: int, least: int = 1) -> Draw:
        """Draw so many launches of a line at most, and so many at least if it has them."""
        return self.engine.store.draw(
            pick.shard, pick.line, owner=self._owner, limit=limit, lease=self._lease, least=least
        )

    def others_wait(self) -> bool:
        """Tell whether more than one line of the queue has launches; while nobody can be asked, none has."""
        try:
            return self.engine.store.pick(self.queue, choose=False).lines > 1
        except Unavailable:
            return False

    def batch(
        self,
        pick: Pick,
        drawn: Draw,
        *,
        slot: Slot | None = None,
        threads: Threads | None = None,
        others: Callable[[], bool] | None = None,
        nearly: Callable[[], None] | None = None,
        make_way: Callable[[], None] = lambda: None,
    ) -> Batch:
        """Return what was drawn, ready to run; with a slot, others run there while a function waits."""
        return Batch(
            *(self.engine, pick.shard, pick.line, self._owner, drawn.actions, self._telling),
            slot=slot,
            threads=threads,
            others=others,
            nearly=nearly,
            make_way=make_way,
        )

    def served(self, pick: Pick, drawn: Draw, given_back: int = 0) -> Served:
        """Return what the next pick has to know of this draw, of which so many launches were given back."""
        weight = weights_of(self.engine.settings.fair_weights).get(read_line(pick.line).fair, 1.0)
        return Served(drawn.head, drawn.left, (len(drawn.actions) - given_back) / weight)

    def call(self, pick: Pick) -> Served:
        """Draw one launch of a line, run it and report it."""
        drawn = self.draw(pick, 1)
        if drawn.actions and (drawn.left or pick.lines > 1):
            announce_queue(self.engine.store, self.engine.messenger, self.queue)
        if drawn.actions:
            batch = self.batch(pick, drawn)
            batch.run()
            batch.report()
        return self.served(pick, drawn)

"""The Celery task of attempts: takes a ticket, draws launches from the lines of a queue, and runs them.

While there is more, the ticket is passed on, so that other workers draw as well. After a second this process gives its slot
back and leaves the rest to the next ticket, or later if nobody else can want it (staying.py): a worker that is asked to stop
is held up no longer than by what it runs.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import structlog
from celery import Celery, Task

from reconciler.api.errors import Unavailable
from reconciler.broker.messages import RUN_ATTEMPTS
from reconciler.core.line import read_line
from reconciler.stores.lines import Draw, Pick, Served
from reconciler.stores.timing import PART
from reconciler.tickets import announce_queue
from reconciler.wiring import Engine
from worker.attempts.batch import Batch
from worker.attempts.beside import Beside, Seat
from worker.attempts.flower import Telling
from worker.attempts.pace import Pace
from worker.attempts.standby import Standby
from worker.attempts.staying import staying
from worker.attempts.threads import Threads
from worker.attempts.ticket import Ticket
from worker.process import current_engine
from worker.receiving import STRATEGY

log = structlog.get_logger(__name__)

_BUDGET = 1.0
"""Seconds after which a process gives its slot back, if others may want it."""
_LONGEST = 10.0
"""Seconds after which it does so in any case: Celery replaces or ends processes of its pool only between two tickets."""
_ALONE = 4
"""So few calls are reported at once, and not behind what was drawn before them."""
_LONE_FOR = 1.0
"""Seconds for which more calls that come by themselves are expected after one."""
_LONG = 0.25
"""Seconds after which a call is reported before the next one begins, which may end the process: to repeat it costs most."""
_FOR_OTHERS = 0.2
"""Seconds to rest when all that waits is for other workers, and the ticket has been passed on to them."""
_PASS_ON_EVERY = 0.25
_HOLDS = 0.1
"""Seconds for which launches that were drawn ahead wait for anything but the calls before them."""
_OVERLAP = range(3, 16)
"""Of so many drawn together the last ones take longer than a draw, and not so long that what comes would go back. Of a line
of which a draw takes one alone nothing is drawn ahead: others would stand idle."""


class _Process:
    """The state that the tickets of one process share; a forked child makes its own.

    Attributes:
        pace: how many launches of each function to draw at a time.
        left: how many the line drawn from last had left.
        lone_at: when a call was drawn that had come by itself while others waited, by the monotonic clock, seconds.
        reports: threads in which, while launches run, what ended before is written and reported, one batch at a time, and
            what comes next is drawn.
        beside: runs others while a function waits.
        standby: waits for the next ticket.
    """

    def __init__(self) -> None:
        self.pace = Pace()
        self.left: dict[tuple[int, str], int] = {}
        self.lone_at = -math.inf
        self.reports = Threads(3, thread_name_prefix="reconciler-report")
        self.beside = Beside()
        self.standby = Standby()


_processes: dict[int, _Process] = {}


def _process() -> _Process:
    found = _processes.get(os.getpid())
    return found if found is not None else _processes.setdefault(os.getpid(), _Process())


def close() -> None:
    """End what this process runs beside."""
    _process().beside.close()


def register(app: Celery) -> None:
    """Declare the task on an application."""

    @app.task(name=RUN_ATTEMPTS, bind=True, send_events=False, Request=Ticket, Strategy=STRATEGY)  # type: ignore[untyped-decorator]  # Celery has no types
    def run_attempts(self: Task, queue: str, **_: object) -> None:
        """Draw and run launches of a queue, which this worker consumes (ticket.py)."""
        engine, telling = current_engine(), Telling(app, self.request.hostname)
        latest, found = time.monotonic() + _LONGEST, True
        while found:  # a ticket for nothing gives the slot back: more of its kind may wait
            staying.work(working=True)
            work = Drawing(engine, queue, str(self.request.hostname or ""), telling, latest=latest)
            ran = work.run()
            staying.work(working=False)
            found = ran and _process().standby.told(engine, queue, latest)


class _Drawn(NamedTuple):
    """Launches that were drawn, ready to run, and the choice of their line."""

    pick: Pick
    drawn: Draw
    batch: Batch


class Drawing:
    """Does the work of one ticket.

    Args:
        engine: of this process.
        queue: whose launches are drawn.
        worker: name of the Celery worker.
        telling: shows launches in Flower.
        latest: when to give the slot back in any case, by the monotonic clock, seconds.
        owner: who holds what is drawn; by default this thread.
    """

    def __init__(
        self,
        engine: Engine,
        queue: str,
        worker: str,
        telling: Telling,
        *,
        latest: float = math.inf,
        owner: str | None = None,
    ) -> None:
        self._engine = engine
        self._queue = queue
        self._passed_on = -math.inf
        self._process = _process()
        self._report: Future[None] | None = None
        self._served: tuple[Served, ...] = ()
        self._lock = threading.Lock()
        self._coming: Future[Pick | _Drawn] | None = None
        began = time.monotonic()
        self._ends, self._latest = began + _BUDGET, min(latest, began + _LONGEST)
        owner = owner or f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident() % 100000}"
        self._seat = Seat(engine, queue, worker, owner, telling, self._process.beside)

    def run(self) -> bool:
        """Draw and run until nothing is left for this worker, or the budget is used up; tell whether it ran anything."""
        first, ran = True, False
        try:
            while True:
                goes_on = self._goes_on()
                ahead = self._take_coming()
                found = ahead.result() if ahead else self._pick(first=first, choose=goes_on)
                first = False
                if isinstance(found, Pick) and not found.line:
                    self._leave(found, tired=not goes_on)
                    return ran
                ran |= self._run(self._draw(found) if isinstance(found, Pick) else found)
        except (
            Unavailable
        ) as error:  # leases end, and the resync sweep sends a ticket once the server is back
            log.warning("line.unavailable", queue=self._queue, error=str(error))
            return False
        finally:
            self._give_back_coming()
            self._reported()
            self._process.beside.rest()

    def _goes_on(self) -> bool:
        """Tell whether more may be drawn for this ticket."""
        now = time.monotonic()
        if self._ends <= now < self._latest and staying.allowed(self._queue):
            self._ends = now + _BUDGET
        return now < self._ends

    def _pick(self, *, first: bool, choose: bool) -> Pick:
        """Pick a line, and tell what became of the one before."""
        served, self._served = self._served, ()
        return self._seat.pick(served, first=first, choose=choose)

    def _draw(self, pick: Pick) -> _Drawn:
        """Draw from a line."""
        line, undisturbed = read_line(pick.line), pick.lines == 1
        left = self._process.left.get((pick.shard, pick.line), 0) if undisturbed else 0
        pace = self._process.pace
        beside_lone = time.monotonic() - self._process.lone_at < _LONE_FOR
        limit = 1 if line.alone else pace.of(line.function, left, beside_lone=beside_lone)
        drawn = self._seat.draw(pick, limit, pace.least(line.function, limit))
        self._process.left = {(pick.shard, pick.line): drawn.left}
        if not undisturbed and not drawn.left and 0 < len(drawn.actions) <= _ALONE:
            self._process.lone_at = time.monotonic()
        if drawn.actions and (drawn.left or pick.lines > 1):  # else the next pick tells what there is
            self._pass_on()
        overlaps = undisturbed and drawn.left > PART and len(drawn.actions) in _OVERLAP
        batch = self._seat.batch(
            pick,
            drawn,
            slot=self._seat,
            threads=self._process.reports,
            others=self._seat.others_wait if undisturbed else None,
            nearly=partial(self._look_ahead, pick) if overlaps else None,
            make_way=self._give_back_coming,
        )
        return _Drawn(pick, drawn, batch)

    def _run(self, found: _Drawn) -> bool:
        """Run what was drawn, if anything was."""
        pick, drawn, batch = found
        self._served = (self._seat.served(pick, drawn),)
        if not drawn.actions:
            return False
        batch.run()
        if batch.given_back and self._served:
            self._served = (self._seat.served(pick, drawn, batch.given_back),)
        function = read_line(pick.line).function
        self._process.pace.ran(function, batch.seconds)
        self._report_beside(batch, function)
        self._wait(self._process.beside.last)  # one slot runs one function
        return True

    # -- while the last calls of a batch run ---------------------------------------------------------------------------
    def _look_ahead(self, pick: Pick) -> None:
        """Begin to draw what comes next."""
        if not self._goes_on():
            return
        with suppress(RuntimeError):  # no thread is left on this host
            self._coming = self._process.reports.submit(partial(self._ahead, pick))

    def _ahead(self, before: Pick) -> Pick | _Drawn:
        """Pick a line, and draw from it if it is the same and still the only one."""
        pick = self._pick(first=False, choose=True)
        if pick != before:
            return pick
        found = self._draw(pick)
        if len(found.drawn.actions) == 1:
            found.batch.give_back()  # drawn alone, it would be charged with the death of this process
            return pick
        with suppress(RuntimeError):  # no thread is left on this host, which its turn tells
            found.batch.keep()
        return found

    def _take_coming(self) -> Future[Pick | _Drawn] | None:
        """Take what comes next, if anybody looks for it; one caller gets it."""
        with self._lock:
            coming, self._coming = self._coming, None
        return coming

    def _give_back_coming(self) -> None:
        """Give back what was drawn ahead; do not draw it if that has not begun."""
        coming = self._take_coming()
        try:
            if coming is None or coming.cancel():
                return
            if isinstance(found := coming.result(), _Drawn):
                found.batch.give_back()
        except Unavailable as error:  # leases end
            log.warning("line.unavailable", queue=self._queue, error=str(error))

    def _wait(self, others: Future[None] | None) -> None:
        """Wait for what is done beside. What was drawn ahead goes back when that takes long: others can run it."""
        if others is None:
            return
        if self._coming is not None:
            with suppress(TimeoutError):
                others.result(_HOLDS)
                return
            self._give_back_coming()
        others.result()

    def _report_beside(self, batch: Batch, function: str) -> None:
        """Have a batch reported beside, one batch at a time. One of few calls, or of a long one, is reported at once."""
        waits = self._report is not None and not self._report.done()
        if (waits and len(batch.seconds) <= _ALONE) or max(batch.seconds, default=0.0) >= _LONG:
            self._give_back_coming()  # who knows how long reports take: the one before is not done, or a call took long
            batch.report()
            return
        if waits:
            batch.write()  # S3 need not rest while what ended before is stored
        self._wait(self._report)
        report = partial(self._report_of, batch, function)
        try:
            self._report = self._process.reports.submit(report)
        except RuntimeError:  # no thread is left on this host
            report()

    def _report_of(self, batch: Batch, function: str) -> None:
        began = time.monotonic()
        batch.report()
        self._process.pace.reported(function, len(batch.seconds), time.monotonic() - began)

    def _reported(self) -> None:
        """Wait until what ended before is reported."""
        if self._report is not None:
            self._report.result()

    def _leave(self, pick: Pick, *, tired: bool) -> None:
        """Leave the waiting launches to others."""
        if not pick.lines:
            return
        self._passed_on = -math.inf
        self._pass_on()
        if not tired:
            time.sleep(_FOR_OTHERS)  # or this very process would be the next to take the ticket

    def _pass_on(self) -> None:
        """Let another process take a ticket, unless one is on its way."""
        now = time.monotonic()
        if now - self._passed_on < _PASS_ON_EVERY:
            return
        self._passed_on = now
        # never raises: what was drawn before is to be run, even if the ticket is lost
        announce_queue(self._engine.store, self._engine.messenger, self._queue)

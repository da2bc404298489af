"""Launches drawn together: run one after the other, written side by side, reported in one call.

Each keeps its own lease, launch, limits, log, error and event. What is not begun within a moment of its turn, because the
one before takes long, goes back to its place in the line, and what has ended by then is reported at once. So does what was
drawn for longer than a moment when others wait by now. Of a large batch the first outputs are written while the others run.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import islice, takewhile

import structlog

from reconciler.api.action import TaskAction
from reconciler.api.errors import Unavailable
from reconciler.children.driving import Slot
from reconciler.controller.conclude import Ended, conclude
from reconciler.core.retries import hand_back_delay
from reconciler.stores.base import Finished
from reconciler.stores.concluding import Ending
from reconciler.stores.lines import GivenBack
from reconciler.sweeps.objects import note_late
from reconciler.tickets import announce
from reconciler.wiring import Engine
from worker.attempts import runners
from worker.attempts.attempt import Attempt
from worker.attempts.fitness import CannotRun
from worker.attempts.flower import Telling
from worker.attempts.heartbeat import keeper
from worker.attempts.packs import parcels_of
from worker.attempts.retry import tell_through_outages
from worker.attempts.threads import Threads
from worker.attempts.traced import trace
from worker.faults import storable
from worker.runner.ahead import DEPTH, CallsAhead

log = structlog.get_logger(__name__)

_TURN = 0.1
"""Seconds a call may take until those behind it go back and those before it are reported."""
_MOMENT = 0.05
"""Seconds between two looks whether others wait."""
_SHORT = 16
"""So many are drawn together of short functions only (pace.py): 3 ms at most."""
_LONGER = 1
"""So many calls of longer functions wait in the child: more would only have to be taken back when one takes too long."""
_SOME = 16
"""So many outputs are worth a request for them while the batch still runs."""


class Batch:
    """Launches of one line that this process has drawn.

    Attributes:
        seconds: how long the calls took, each.
        given_back: how many were not begun.
    """

    def __init__(
        self,
        engine: Engine,
        shard: int,
        line: str,
        owner: str,
        records: Sequence[TaskAction],
        telling: Telling,
        *,
        slot: Slot | None = None,
        threads: Threads | None = None,
        others: Callable[[], bool] | None = None,
        nearly: Callable[[], None] | None = None,
        make_way: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; begin nothing.

        Args:
            engine: of the worker.
            shard: of the line.
            line: they were drawn from.
            owner: of their leases.
            records: as they were drawn.
            telling: shows them in Flower.
            slot: where tickets are taken while a function waits, if anywhere.
            threads: write the first outputs while the next calls run; without them all are written at the end.
            others: tells whether other launches wait for this slot; asked now and then, all that is left makes way for them.
            nearly: called when all calls but one have begun, unless what waits has gone back; must return at once.
            make_way: called when what waits goes back, for what was drawn behind it, in whichever thread.
        """
        self._engine = engine
        self._shard = shard
        self._line = line
        self._owner = owner
        self._telling = telling
        drawn = time.monotonic()
        self._waiting = deque(Attempt(engine, record, owner, drawn=drawn, slot=slot) for record in records)
        self._ended: list[Attempt] = []
        self._unwritten: list[Attempt] = []
        self._written: dict[int, str] = {}  # where the outputs of each lie, by its `id`
        self._writing: list[Future[None]] = []
        # a pack is written when all that may go into it is known
        self._threads = None if engine.settings.pack_outputs else threads
        self._others = others
        self._nearly = nearly
        self._overlaps = nearly is not None
        self._behind_makes_way = make_way
        self._asks = drawn + _MOMENT
        self._began = 0.0
        self._depth = DEPTH if len(records) >= _SHORT else min(_LONGER, len(records) - 1)
        self._ahead: CallsAhead | None = None
        self._lock = threading.Lock()
        self._way: threading.Thread | None = None
        self.seconds: list[float] = []
        self.given_back = 0

    def keep(self) -> None:
        """Have the leases renewed before it is run or given back. Raises RuntimeError: no thread is left on this host."""
        keeper().keep([one.beat for one in self._waiting])

    def give_back(self) -> None:
        """Give back what waits, in place of `run`."""
        with self._lock:
            back, self._waiting = [*self._waiting], deque()
        self._give_back(back)

    def run(self) -> None:
        """Run them all, one after the other. Those that ended are to be reported: see `report`."""
        together = len(self._waiting) > 1
        try:
            keeper().keep([one.beat for one in self._waiting], self._look if together else None)
        except RuntimeError as error:
            self._hand_all_back(f"worker {socket.gethostname()} cannot run functions: {error}")
        attempt: Attempt | None = None
        try:
            while (attempt := self._next()) is not None:
                self._call(attempt)
                self._let_others()
        except Exception:
            self._leave(attempt)
            raise
        if self._way is not None:
            self._way.join()  # a process that ends now would take with it what is not reported

    def _leave(self, in_hand: Attempt | None) -> None:
        """Leave to others what has not ended, once its leases end: nobody here would take note of its end."""
        with self._lock:
            left, self._waiting = [*self._waiting], deque()
            if in_hand is not None and in_hand not in self._ended:
                left.append(in_hand)
        keeper().let_go(one.beat for one in left)
        if self._ahead is not None and len(self._ahead):
            runners.runner_of(self._engine).renew()
        self.report()

    def _give_ahead(self, attempt: Attempt) -> None:
        """Give the child this call and those behind it, so that neither waits for the other between two short ones."""
        ahead = runners.runner_of(self._engine).ahead if self._depth > 0 else None
        if ahead is None or len(ahead) - attempt.is_given(ahead) > self._depth // 2:
            return
        self._ahead = ahead
        with self._lock:
            behind = list(islice(self._waiting, self._depth))
        made = {id(one): one.prepare() for one in (attempt, *behind)}
        with self._lock:  # what has been given back meanwhile must not run
            calls = (made.get(id(one)) for one in (attempt, *self._waiting))
            ahead.give(list(takewhile(bool, calls)))  # type: ignore[arg-type]  # none of them is None

    def _not_begun(self) -> list[Attempt]:
        """Take out of the batch what waits, but for calls that the child has begun before their turn. Needs the lock."""
        self._nearly = None
        ahead = self._ahead
        if ahead is not None:
            ahead.take_back()
        begun = deque(one for one in self._waiting if ahead is not None and one.is_given(ahead))
        back = [one for one in self._waiting if one not in begun]
        self._waiting = begun
        return back

    def _let_others(self) -> None:
        """Give back what is not begun when others wait for this slot."""
        behind = self._waiting or self._overlaps
        if self._others is None or not behind or (now := time.monotonic()) < self._asks:
            return
        self._asks = now + _MOMENT
        if self._others():
            with self._lock:
                back = self._not_begun()
            self._give_back(back)
            self._behind_makes_way()

    def _hand_all_back(self, why: str) -> None:
        while (attempt := self._next()) is not None:
            self._hand_back(attempt, why)

    def _next(self) -> Attempt | None:
        with self._lock:
            self._began = time.monotonic() if self._waiting else 0.0
            if (nearly := self._nearly) is not None and len(
                self._waiting
            ) <= 2:  # this one, and one behind it
                self._nearly = None
                nearly()  # under the lock: who is told that a call takes long knows what it has begun
            return self._waiting.popleft() if self._waiting else None

    def _call(self, attempt: Attempt) -> None:
        attempt.beat.each(lambda: self._telling.begun(attempt.record))  # a quick one is told of at its end
        self._give_ahead(attempt)
        try:
            attempt.call()
        except CannotRun as reason:
            self._hand_back(attempt, str(reason), reason.unfit, reason.lacks)
            return
        attempt.beat.begun = False  # or a beat that comes now would tell once more that it runs
        with self._lock:
            self._began = 0.0
            self._ended.append(attempt)
            self._unwritten.append(attempt)
            self.seconds.append(attempt.seconds)
            if len(self._unwritten) >= _SOME and all(each.done() for each in self._writing[-1:]):
                self.write()

    # -- a turn that takes long ------------------------------------------------------------------------------------
    def _look(self) -> float | None:
        """Make way when a call takes too long. Returns the seconds until the next look, None: never."""
        with self._lock:
            if not self._waiting and not (self._began and (self._ended or self._overlaps)):
                return None
            left = self._began + _TURN - time.monotonic() if self._began else _TURN / 2
            if left > 0:
                return left
            back = self._not_begun()
        way = threading.Thread(target=self._make_way, args=(back,), name="reconciler-batch", daemon=True)
        try:
            way.start()  # not in the keeper: an outage of S3 must not end leases
        except RuntimeError:  # no thread is left on this host
            self._give_back(back)
            self._behind_makes_way()
        else:
            self._way = way
        return None

    def _make_way(self, back: list[Attempt]) -> None:
        self._give_back(back)
        self._behind_makes_way()
        self.report()

    def _give_back(self, attempts: Sequence[Attempt]) -> None:
        if not attempts:
            return
        self.given_back += len(attempts)
        launches = [GivenBack(a.record.id, a.launch, a.record.metadata.incarnation) for a in attempts]
        try:
            opened = self._engine.store.give_back(
                self._shard, self._line, owner=self._owner, launches=launches
            )
            announce(self._engine.store, self._engine.messenger, opened)
        except Unavailable as error:  # their leases end
            log.warning("attempt.not_given_back", count=len(attempts), error=str(error))
        finally:
            keeper().let_go(one.beat for one in attempts)

    # -- what has ended --------------------------------------------------------------------------------------------
    def write(self) -> None:
        """Have outputs written, as far as nobody does so yet, before they can be reported."""
        if self._threads is None or not self._unwritten:
            return
        with suppress(RuntimeError):  # no thread is left on this host: all is written when it is reported
            self._writing.append(self._threads.submit(self._write_some))

    def report(self) -> None:
        """Write and report what has ended, with the next step where that waits for nothing; else it is taken here."""
        with self._lock:
            ended, self._ended = self._ended, []
        if not ended:
            return
        try:
            self._write(ended)
            # seen before the report: what a beat is told after it is that the launch has ended
            lost = [attempt for attempt in ended if attempt.beat.superseded]
            self._report([attempt for attempt in ended if attempt not in lost])
            for attempt in lost:
                self._telling.ended(attempt.record, None)
            self._note_late([attempt.record for attempt in ended if not attempt.taken])
        except Unavailable as error:
            log.warning("attempt.not_reported", count=len(ended), error=str(error))
            for attempt in ended:
                self._telling.not_told(attempt.record, error)
        finally:
            keeper().let_go(attempt.beat for attempt in ended)
            self._telling.flush()
        self._drive([attempt.record for attempt in ended if not attempt.stepped])

    def _write(self, ended: Sequence[Attempt]) -> None:
        self._write_some()
        for writing in self._writing:
            writing.result()
        for attempt in ended:
            attempt.write(self._written.get(id(attempt), ""))
            attempt.measure()

    def _write_some(self) -> None:
        """Create the objects of what has ended, as far as nobody does so already."""
        with self._lock:
            unwritten, self._unwritten = self._unwritten, []
        if not unwritten:
            return
        parcels = parcels_of(self._engine, unwritten)
        made = self._made([(parcel.uri, parcel.data) for parcel in parcels])
        for parcel, done in zip(parcels, made, strict=True):
            self._written.update((id(attempt), uri) for attempt, uri in parcel.parts if done)

    def _made(self, objects: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Write small objects side by side; if that fails, each is written by itself and reports its own error."""
        try:
            return self._engine.blobs.create_many(objects)
        except Exception:
            log.exception("attempt.not_written_together", count=len(objects))
            return [False] * len(objects)

    def _report(self, attempts: Sequence[Attempt]) -> None:
        """Report how attempts ended. An outcome that no record can hold is reported as a fault, and stops no other.

        Raises:
            StoreUnavailable: it was away for two minutes.
        """
        try:
            taken = self._finish(attempts)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001  # logged there
            if len(attempts) > 1:
                for attempt in attempts:
                    self._report([attempt])
                return
            attempts[0].outcome = attempts[0].fault(error)
            taken = self._finish(attempts)
        for attempt, was_taken in zip(attempts, taken, strict=True):
            attempt.taken = was_taken
            if was_taken:
                trace(attempt)
            else:
                log.info("attempt.superseded", action=str(attempt.record.id), launch=attempt.launch)
            self._telling.ended(attempt.record, attempt.outcome if was_taken else None, attempt.seconds)

    def _note_late(self, refused: Sequence[TaskAction]) -> None:
        """Have the collector remove what was written for actions that are forgotten."""
        if not refused:
            return
        engine = self._engine
        try:
            note_late(engine.store, engine.blobs, engine.settings, self._shard, refused)
        except Unavailable as error:
            log.warning("attempt.not_noted", count=len(refused), error=str(error))

    def _finish(self, attempts: Sequence[Attempt]) -> tuple[bool, ...]:
        if not attempts:
            return ()
        finished = [
            Finished(a.record.id, a.launch, a.told(), a.record.metadata.incarnation) for a in attempts
        ]
        ended = [Ended(a.record, end, a.times()[1]) for a, end in zip(attempts, finished, strict=True)]
        endings = conclude(self._engine.stepper, self._shard, self._owner, ended, tell_through_outages)
        for attempt, ending in zip(attempts, endings, strict=True):
            attempt.stepped = ending is Ending.WRITTEN
        return tuple(ending is not Ending.SUPERSEDED for ending in endings)

    def _hand_back(self, attempt: Attempt, why: str, unfit: str = "", lacks: str = "") -> None:
        """Hand a launch back: another worker may be able to run it, or this one after a repair."""
        record, store, reason = attempt.record, self._engine.store, storable(why)
        log.warning("attempt.handed_back", action=str(record.id), launch=attempt.launch, why=why)
        delay = hand_back_delay(record.attempt.hand_backs + 1, self._engine.reconciler.rng)
        try:
            decline = partial(store.decline_attempt, record.id, attempt.launch, owner=self._owner, why=reason)
            more = {"unfit": unfit, "lacks": lacks, "incarnation": record.metadata.incarnation}
            taken = tell_through_outages(partial(decline, delay=delay, **more))
            self._telling.handed_back(record, reason if taken else None)
        except Unavailable as error:
            log.warning("attempt.not_reported", count=1, error=str(error))
        finally:
            keeper().let_go([attempt.beat])
        self._drive([record])

    def _drive(self, records: Sequence[TaskAction]) -> None:
        """Take the next step of what was not reported with it; if it fails, the due index covers for it."""
        if not records:
            return
        try:
            self._engine.stepper.step(self._shard, [record.id for record in records], drain=False)
        except Exception as error:  # noqa: BLE001  # whatever it is, the outcomes are stored
            log.warning("attempt.step_left_to_others", count=len(records), error=str(error) or repr(error))

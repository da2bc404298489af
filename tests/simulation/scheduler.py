"""Actors on one baton: threads of which exactly one runs, chosen by a seed, in a time that is moved.

An actor runs product code as it is. It can be paused wherever it calls `Scheduler.point`, `sleep` or `wait_for`; whoever
goes on is drawn from the seed. Nothing else decides: no real clock, no real lock, no order of threads. So one seed is one
story, in any process.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress

from reconciler.testing import VirtualClock

NEVER = 1 << 62
"""A time that does not come, ms since the epoch."""
_POOL: list[Carrier] = []
"""Threads that carry no actor at the moment; making one costs more than most actors do."""


class Killed(BaseException):
    """Raised inside an actor whose process was killed: it does nothing any more."""


class Process:
    """What is killed and frozen as one: the actors of a process.

    Attributes:
        alive: False once it was killed.
        frozen_until: none of its actors goes on before this time.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen_until = 0


class Actor:
    """One line of execution.

    Attributes:
        wake_at: when it goes on by itself.
        condition: goes on earlier when this holds.
        error: what it ended with, if not well.
    """

    def __init__(self, name: str, process: Process, body: Callable[[], None]) -> None:
        self.name = name
        self.process = process
        self.body = body
        self.wake_at = 0
        self.condition: Callable[[], bool] | None = None
        self.done = False
        self.error: BaseException | None = None
        self.carrier: Carrier | None = None

    def ready(self, now: int) -> bool:
        """Whether it can go on; the dead can, to die."""
        process = self.process
        if not process.alive:
            return True
        if process.frozen_until > now:
            return False
        return self.wake_at <= now or (self.condition is not None and self.condition())

    def next_time(self) -> int:
        """When time alone lets it go on."""
        return max(self.wake_at, self.process.frozen_until)


class Carrier(threading.Thread):
    """A thread that carries one actor after the other, each time it is given the baton."""

    def __init__(self) -> None:
        super().__init__(name="simulation", daemon=True)
        self.baton = threading.Lock()
        self.baton.acquire()
        self.work: tuple[Scheduler, Actor] | None = None
        self.start()

    def run(self) -> None:
        """Carry for ever; the thread ends with its process."""
        while True:
            self.baton.acquire()
            assert self.work is not None
            scheduler, actor = self.work
            try:
                if actor.process.alive:
                    actor.body()
            except BaseException as error:  # noqa: BLE001  # whoever drives says what it means
                actor.error = error
            self.work = None
            _POOL.append(self)
            scheduler.ended(actor)


class Scheduler:
    """Owns the actors, the baton and the time.

    Args:
        rng: every decision is drawn from it.
        switching: how likely an actor hands over at a point.

    Attributes:
        clock: moves when nobody can go on, and a little at switches.
        trace: what happened, in order, as tuples that begin with the time and the actor.
    """

    def __init__(self, rng: random.Random, switching: float) -> None:
        self.rng = rng
        self.switching = switching
        self.clock = VirtualClock()
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self.trace: list[tuple[object, ...]] = []
        self._choose: Callable[[], Actor | None] = lambda: None
        self._failure: BaseException | None = None
        self._back = threading.Lock()
        self._back.acquire()

    # -- called by actors ------------------------------------------------------------------------------------------
    def point(self) -> None:
        """Let somebody else go on here."""
        carrier = self.current.carrier if self.current is not None else None
        assert carrier in {None, threading.current_thread()}, (
            "a thread of product code's own: seams.py lacks a stand-in"
        )
        if self.current is not None and self.rng.random() < self.switching:
            self.pause()

    def pause(self, until: int = 0, condition: Callable[[], bool] | None = None) -> None:
        """Hand over; goes on when it is chosen after `until` (ms since the epoch), or once `condition` holds.

        Raises:
            Killed: its process was killed meanwhile.
        """
        actor = self.current
        assert actor is not None
        assert actor.carrier is not None
        actor.wake_at, actor.condition = until, condition
        chosen = self._next()
        if chosen is actor:
            self.current = actor
        else:
            self._give(chosen)
            actor.carrier.baton.acquire()
        if not actor.process.alive:
            raise Killed(actor.name)

    def sleep(self, seconds: float) -> None:
        """Go on after so many seconds of virtual time."""
        self.pause(self.clock.at + int(seconds * 1000))

    def wait_for(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Go on once the condition holds, or after so many seconds; whether it holds."""
        if not condition():
            self.pause(NEVER if seconds is None else self.clock.at + int(seconds * 1000), condition)
        return condition()

    def note(self, *what: object) -> None:
        """Add an entry to the trace."""
        self.trace.append((self.clock.at, self.current.name if self.current else "-", *what))

    # -- called by whoever drives ----------------------------------------------------------------------------------
    def spawn(self, name: str, process: Process, body: Callable[[], None]) -> Actor:
        """Add a new actor; it begins when it is first chosen."""
        actor = Actor(name, process, body)
        self.actors.append(actor)
        return actor

    def ready(self) -> list[Actor]:
        """Return the actors that can go on now."""
        now = self.clock.at
        return [actor for actor in self.actors if actor.ready(now)]

    def next_time(self) -> int:
        """When the next actor can go on by time alone; `NEVER` when none can."""
        return min((actor.next_time() for actor in self.actors), default=NEVER)

    def drive(self, choose: Callable[[], Actor | None]) -> None:
        """Let those go on that are chosen, one after the other, until nobody is.

        Whoever hands over makes the choice, in its own thread: most of the times it chooses itself, or one it can give the
        baton to directly.

        Raises:
            BaseException: what an actor, or the choice, ended with.
        """
        self._choose = choose
        chosen = self._next()
        if chosen is not None:
            self._give(chosen)
            self._back.acquire()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def ended(self, actor: Actor) -> None:
        """Hand over for good, in the thread of an actor that ends."""
        actor.done = True
        self.actors.remove(actor)
        if actor.error is not None and not isinstance(actor.error, Killed):
            self._failure = actor.error
        self._give(self._next())

    def end(self) -> None:
        """Kill what is left, so that no thread stays behind."""
        while self.actors:
            actor = self.actors[0]
            actor.process.alive = False
            with suppress(BaseException):
                self.drive(lambda: None if actor.done else actor)  # noqa: B023  # used at once

    def _next(self) -> Actor | None:
        self.current = None
        if self._failure is not None:
            return None
        try:
            return self._choose()
        except BaseException as error:  # noqa: BLE001  # handed to whoever drives
            self._failure = error
            return None

    def _give(self, chosen: Actor | None) -> None:
        if chosen is None:
            self._back.release()
            return
        self.current = chosen
        carrier = chosen.carrier
        if carrier is None:
            carrier = chosen.carrier = _POOL.pop() if _POOL else Carrier()
            carrier.work = (self, chosen)
        carrier.baton.release()

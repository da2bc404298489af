"""Where product code touches real time, threads and processes, the simulator stands in: for nothing else.

`Attempt`, `Heartbeat` and `Stepper` run as they are. Their clocks are virtual, their threads are actors, and the runner
answers as the world says instead of starting a process.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import structlog

from reconciler.api.action import TaskAction
from reconciler.api.template import SecretRef
from reconciler.client import storing
from reconciler.controller import step
from reconciler.controller.step import Stepper
from reconciler.stores.base import Write
from reconciler.sweeps import objects
from worker.attempts import attempt, patience
from worker.attempts.heartbeat import Heartbeat
from worker.runner.runner import TIMED_OUT, Call, Ended, Stopped

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_SILENT = logging.CRITICAL
"""A level nothing is logged at: the product's log lines are not what a story tells."""


class VirtualTime:
    """Stands in for the module `time`."""

    def __init__(self, sim: Simulation) -> None:
        self._scheduler = sim.scheduler

    def monotonic(self) -> float:
        """The virtual time, seconds."""
        return self._scheduler.clock.at / 1000

    def sleep(self, seconds: float) -> None:
        """Others go on meanwhile."""
        self._scheduler.sleep(seconds)


class _Flag:
    """Stands in for `threading.Event`."""

    def __init__(self, sim: Simulation) -> None:
        self._scheduler = sim.scheduler
        self._is_set = False

    def set(self) -> None:
        """From now on nobody waits."""
        self._is_set = True

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, or so long; whether it is."""
        return self._scheduler.wait_for(lambda: self._is_set, seconds)


class _Thread:
    """Stands in for `threading.Thread`: an actor of the process that starts it."""

    def __init__(self, sim: Simulation, name: str, body: Callable[[], None]) -> None:
        self._sim, self._name, self._body = sim, name, body

    def start(self) -> None:
        """Begin, when it is chosen."""
        self._actor = self._sim.sibling(self._name, self._body)

    def join(self, seconds: float) -> None:
        """Wait for its end."""
        self._sim.scheduler.wait_for(lambda: self._actor.done, seconds)


def future_class(sim: Simulation) -> type[Future[Any]]:
    """A future that is waited for in virtual time."""

    class VirtualFuture(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:  # what the other actor found
            """As the real one."""
            sim.scheduler.wait_for(self.done, timeout)
            return super().result(0)

    return VirtualFuture


def threads(sim: Simulation) -> SimpleNamespace:
    """Stands in for the module `threading`, where all that is used of it is to start a thread."""

    def thread(*, target: Callable[[], None], name: str, daemon: bool) -> _Thread:
        del daemon  # an actor ends with its process
        return _Thread(sim, name, target)

    return SimpleNamespace(Thread=thread)


def heartbeat_class(sim: Simulation) -> type[Heartbeat]:
    """The product's heartbeat, beating in virtual time."""

    class VirtualHeartbeat(Heartbeat):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._ends = _Flag(sim)  # type: ignore[assignment]  # has what a heartbeat needs of an event
            self._thread = _Thread(sim, "beat", self._beat)  # type: ignore[assignment]  # of a thread

    return VirtualHeartbeat


class VirtualRunner:
    """Stands in for `Runner`: no process, an end out of the world.

    Attributes:
        children: how many processes it has had.
    """

    children = 1

    def __init__(self, sim: Simulation, knows: Mapping[str, str]) -> None:
        self._sim = sim
        self._knows = knows
        self._stop = ""

    def functions(self, **_: object) -> Mapping[str, str]:
        """As the real one, which is ready."""
        return self._knows

    def request_stop(self, reason: str) -> None:
        """As the real one."""
        self._stop = reason

    def secrets_of(
        self, function: str, *, stop: Callable[[], str | None], poll: float
    ) -> tuple[SecretRef, ...]:
        """Every function declares the only secret there is."""
        del function, stop, poll
        return (SecretRef(key="token", env="TOKEN"),)

    def run(
        self,
        call: Call,
        *,
        stop: Callable[[], str | None],
        poll: float,
        timeout: float | None,
        grace: float,
        log: object,
    ) -> Ended:
        """Take as long as the world says, and end as it says, unless somebody wants it to stop."""
        del poll, log
        scheduler, clock = self._sim.scheduler, self._sim.scheduler.clock
        course = self._sim.world.course(call)
        deadline = clock.at + int(timeout * 1000) if timeout is not None else None
        ends = clock.at + course.lasts if deadline is None else min(clock.at + course.lasts, deadline)
        if scheduler.wait_for(lambda: bool(self._stop or stop()), (ends - clock.at) / 1000):
            reason = self._stop or stop() or ""
        elif deadline is not None and clock.at >= deadline:
            reason = TIMED_OUT
        else:
            return self._sim.world.finished(call, course)
        scheduler.sleep(grace if course.stubborn else 0.1)
        return Stopped(reason, killed=course.stubborn)


class InlinePool:
    """Stands in for a thread pool whose order does not matter."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, do: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """One after the other."""
        return [do(item) for item in items]


def use_actors(sim: Simulation, stepper: Stepper) -> None:
    """Let the handle threads of a stepper be actors of its process."""

    def submit(action: TaskAction) -> Future[Write]:
        future: Future[Write] = Future()
        sim.sibling("handle", lambda: future.set_result(stepper._round(action)))
        return future

    stepper._submit = submit  # type: ignore[method-assign]  # the seam


@contextmanager
def seams(sim: Simulation) -> Iterator[None]:
    """Put all stand-ins in place, and the originals back."""

    def wait(futures: Sequence[Future[Any]], timeout: float) -> SimpleNamespace:
        sim.scheduler.wait_for(lambda: all(future.done() for future in futures), timeout)
        return SimpleNamespace(done={future for future in futures if future.done()})

    time, drawn = VirtualTime(sim), random.Random(sim.seed)
    stand_ins: list[tuple[Any, str, object]] = [
        (step, "time", time),
        (step, "wait", wait),
        (attempt, "time", time),
        (patience, "time", time),
        (patience, "Future", future_class(sim)),
        (patience, "threading", threads(sim)),
        (attempt, "Heartbeat", heartbeat_class(sim)),
        (attempt, "runner_of", lambda engine: VirtualRunner(sim, sim.knows(engine))),
        (objects, "ThreadPoolExecutor", InlinePool),
        (storing, "new_incarnation", lambda: "".join(drawn.choices("abcdefgh", k=10))),
    ]
    with ExitStack() as stack:
        before = structlog.get_config()
        stack.callback(lambda: structlog.configure(**before))
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_SILENT))
        for module, name, stand_in in stand_ins:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, stand_in)
        yield

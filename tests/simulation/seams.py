"""Where product code touches real time, threads and processes, the simulator stands in: for nothing else.

`Drawing`, `Batch`, `Attempt`, `Keeper` and `Stepper` run as they are. Their clocks are virtual, their threads are actors,
and the runner answers as the world says instead of starting a process.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec
import structlog

from reconciler.api.action import TaskAction
from reconciler.api.template import SecretRef
from reconciler.archive import index, recent, unread
from reconciler.children import desk, driving, following, functions, loops, sleeps, values, watching
from reconciler.children import threads as waits
from reconciler.client import archived, reading, sources, storing, to_delete
from reconciler.controller import joined
from reconciler.controller.step import Stepper
from reconciler.stores import blobs
from reconciler.stores.base import Write
from reconciler.sweeps import archive, objects
from tests.simulation.ahead import VirtualAhead
from tests.simulation.async_parents import AsyncStage
from tests.simulation.parents import Stage
from tests.simulation.plots import Inputs
from tests.simulation.scheduler import Process
from worker.attempts import attempt, batch, beside, drawing, heartbeat, retry, runners
from worker.attempts.beside import Beside
from worker.attempts.heartbeat import Keeper
from worker.runner.asking import MakeDesk
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
        """Return the virtual time, seconds."""
        return self._scheduler.clock.at / 1000

    def sleep(self, seconds: float) -> None:
        """Let others go on meanwhile."""
        self._scheduler.sleep(seconds)


class _Condition:
    """Stands in for `threading.Condition`, of which one thread waits. Exclusion comes with the baton."""

    def __init__(self, sim: Simulation) -> None:
        self._scheduler = sim.scheduler
        self._told = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def notify(self) -> None:
        """Who waits goes on."""
        self._told = True

    def wait(self, seconds: float) -> None:
        """Wait until somebody notifies, or so long."""
        self._told = False
        self._scheduler.wait_for(lambda: self._told, seconds)


class _Thread:
    """Stands in for `threading.Thread`: an actor of the process that starts it."""

    def __init__(self, sim: Simulation, name: str, body: Callable[[], None]) -> None:
        self._sim, self._name, self._body = sim, name, body

    def start(self) -> None:
        """Begin, when it is chosen."""
        self._actor = self._sim.sibling(self._name, self._body)

    def join(self) -> None:
        """Wait for its end."""
        self._sim.scheduler.wait_for(lambda: self._actor.done)


def future_class(sim: Simulation) -> type[Future[Any]]:
    """Return a future that is waited for in virtual time."""

    class VirtualFuture(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:  # what the other actor found
            """Return what the real one does."""
            sim.scheduler.wait_for(self.done, timeout)
            return super().result(0)

        def exception(self, timeout: float | None = None) -> BaseException | None:
            """Do as the real one."""
            sim.scheduler.wait_for(self.done, timeout)
            return super().exception(0)

    return VirtualFuture


def threads(sim: Simulation) -> SimpleNamespace:
    """Stand in for the module `threading`. A lock is a real one: nobody hands over while he holds one."""

    def thread(
        *, target: Callable[..., None], name: str, daemon: bool, args: tuple[Any, ...] = ()
    ) -> _Thread:
        del daemon  # an actor ends with its process
        return _Thread(sim, name, lambda: target(*args))

    return SimpleNamespace(Thread=thread, Condition=lambda: _Condition(sim), Lock=threading.Lock)


class Keepers:
    """The product's keepers, one of each process."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._of: dict[Process, Keeper] = {}

    def __call__(self) -> Keeper:
        """Return the value of the running actor's process."""
        actor = self._sim.scheduler.current
        assert actor is not None
        return self._of.setdefault(actor.process, Keeper())


class RandomPace:
    """Stands in for `Pace`: draws as many together as the seed says."""

    def __init__(self, sim: Simulation) -> None:
        self._rng = sim.rng

    def of(self, function: str, left: int, *, beside_lone: bool) -> int:
        """Count how many to draw."""
        del function, left, beside_lone
        return self._rng.choice((1, 2, 3, 8))

    def least(self, function: str, limit: int) -> int:
        """Count how many to draw of a short line."""
        del function
        return max(1, limit // 2)

    def ran(self, function: str, seconds: list[float]) -> None:
        """Ignore the time, which does not matter."""

    def reported(self, function: str, count: int, seconds: float) -> None:
        """Nor does that."""


class _Reports:
    """Stands in for the pool of one thread in which batches are reported."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    def submit(self, do: Callable[[], None]) -> Future[None]:
        """Do it beside, in an actor of the same process."""
        future = future_class(self._sim)()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(do())
            except Exception as error:  # noqa: BLE001  # raised again where it is waited for
                future.set_exception(error)

        self._sim.sibling("report", work)
        return future


class _InTurn:
    """Stands in for the one thread of what runs beside: each in an actor of the same process, behind the one before."""

    def __init__(self, sim: Simulation) -> None:
        self._reports = _Reports(sim)
        self._last: Future[None] | None = None

    def submit(self, do: Callable[..., None], *given: Any) -> Future[None]:
        """Do it once the one before is done."""
        before = self._last

        def work() -> None:
            if before is not None:
                before.exception()
            do(*given)

        self._last = self._reports.submit(work)
        return self._last


def _beside(sim: Simulation) -> Beside:
    """Make the product's, with a second process that is always there."""
    found: Any = Beside()
    found._thread = _InTurn(sim)
    found._warming = found._ready = True
    return cast("Beside", found)


class Silent:
    """Stands in for `Telling`: nobody listens to Celery's events."""

    def __getattr__(self, name: str) -> Any:
        """Any of its methods."""
        return lambda *_: None


_LIVES_ON = ("returned", "raised", "final")
"""Ends of calls that their process serves on after."""


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

    @property
    def ahead(self) -> VirtualAhead:
        """The calls its child has; each thread of a worker has one runner."""
        return self._sim.aheads.setdefault(self._sim.scheduler.current, VirtualAhead(self._sim))

    def functions(self, **_: object) -> Mapping[str, str]:
        """Return what the real one does, which is ready."""
        return self._knows

    def request_stop(self, reason: str) -> None:
        """Do as the real one."""
        self._stop = reason

    def secrets_of(
        self, function: str, *, stop: Callable[[], str | None], poll: float
    ) -> tuple[SecretRef, ...]:
        """Return every function declares the only secret there is."""
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
        desk: MakeDesk,
    ) -> Ended:
        """Take as long as the world says, and end as it says, unless somebody wants it to stop."""
        del poll, log
        scheduler, clock = self._sim.scheduler, self._sim.scheduler.clock
        self.ahead.begin(call)
        deadline = clock.at + int(timeout * 1000) if timeout is not None else None
        inputs = msgspec.json.decode(call.inputs, type=Inputs)
        if inputs.plot:

            def halted() -> str:
                late = TIMED_OUT if deadline is not None and clock.at >= deadline else ""
                return self._stop or stop() or late

            stage = AsyncStage if inputs.loop else Stage
            return stage(self._sim, call, desk, halted).play()
        course = self._sim.world.course(call)
        if course.end not in _LIVES_ON:
            self.ahead.take_back()  # ends with its process
        ends = clock.at + course.lasts if deadline is None else min(clock.at + course.lasts, deadline)
        if scheduler.wait_for(lambda: bool(self._stop or stop()), (ends - clock.at) / 1000):
            reason = self._stop or stop() or ""
        elif deadline is not None and clock.at >= deadline:
            reason = TIMED_OUT
        else:
            self.ahead.go_on()
            return self._sim.world.finished(call, course)
        self.ahead.take_back()
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
        """Call it for one after the other."""
        return [do(item) for item in items]


def use_actors(sim: Simulation, stepper: Stepper) -> None:
    """Let the handle threads of a stepper be actors of its process."""

    def submit(play: Callable[[TaskAction], Write], action: TaskAction) -> Future[Write]:
        future: Future[Write] = Future()
        sim.sibling("handle", lambda: future.set_result(play(action)))
        return future

    stepper._handles.submit = submit  # type: ignore[method-assign]  # the seam


@contextmanager
def seams(sim: Simulation) -> Iterator[None]:
    """Put all stand-ins in place, and the originals back."""

    def wait(futures: Sequence[Future[Any]], timeout: float) -> SimpleNamespace:
        sim.scheduler.wait_for(lambda: all(future.done() for future in futures), timeout)
        return SimpleNamespace(done={future for future in futures if future.done()})

    time, drawn = VirtualTime(sim), random.Random(sim.seed)
    stand_ins: list[tuple[Any, str, object]] = [
        (joined, "time", time),
        (joined, "wait", wait),
        (attempt, "time", time),
        *((module, "time", time) for module in (desk, following, loops, watching, waits, sleeps)),
        (loops, "threading", SimpleNamespace(active_count=lambda: 0)),
        (waits, "_is_main", lambda: True),
        (functions, "current_parent", lambda: sim.stages[sim.scheduler.current]),
        (values, "_INLINE", 16 if sim.seed % 3 else 16_384),
        (watching, "ThreadPoolExecutor", InlinePool),
        (retry, "time", time),
        (retry, "Future", future_class(sim)),
        (retry, "threading", threads(sim)),
        (batch, "time", time),
        (batch, "_SOME", 2),
        (batch, "_SHORT", 2),
        (batch, "_MOMENT", 0.0),
        (batch, "threading", threads(sim)),
        (batch, "keeper", Keepers(sim)),
        (drawing, "time", time),
        (drawing, "_OVERLAP", range(1, 9)),
        (beside, "time", time),
        (driving, "time", time),
        (
            drawing,
            "_process",
            lambda: SimpleNamespace(
                pace=RandomPace(sim), left={}, lone_at=0.0, reports=_Reports(sim), beside=_beside(sim)
            ),
        ),
        (heartbeat, "time", time),
        (heartbeat, "threading", threads(sim)),
        (runners, "runner_of", lambda engine: VirtualRunner(sim, sim.knows(engine))),
        (objects, "ThreadPoolExecutor", InlinePool),
        *(
            (module, "ThreadPoolExecutor", InlinePool)
            for module in (archive, blobs, index, reading, recent, sources, to_delete, unread)
        ),
        (archived, "time", time),
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

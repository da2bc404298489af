"""The workers of a story: places where processes of one kind run, die, and are replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from reconciler.api.errors import Unavailable
from tests.simulation.gates import Message
from tests.simulation.scheduler import Actor, Process
from tests.simulation.seams import Silent
from worker.attempts.drawing import Drawing

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

KNOWN: Mapping[str, str] = {"demo": "0" * 16}
"""The functions of a worker as it should be."""


class Worker:
    """A place where processes of one kind run, one after the other, each with an engine of its own."""

    def __init__(self, sim: Simulation, name: str) -> None:
        self._sim = sim
        self.name = name
        self.born = 0
        self.ready_at = 0
        self.knows: Mapping[str, str] = KNOWN
        self.actor: Actor | None = None
        self.message: Message | None = None
        self.owner = ""
        self._start()

    def _start(self) -> None:
        self.born += 1
        # one of an older release, or started with a wrong setting, lacks the function
        self.knows = {} if self._sim.faulty and self._sim.rng.random() < self._sim.ignorant else KNOWN
        self.process = Process(f"{self.name}.{self.born}")
        self.engine = self._sim.engine()

    def free(self, now: int) -> bool:
        """Whether it takes a message; a dead one is replaced first."""
        if self.actor is not None and not self.actor.done:
            return False
        if not self.process.alive:
            if self.actor is not None:
                self._bury(now)
            if now < self.ready_at:
                return False
            self._start()
        return self.process.frozen_until <= now

    def _bury(self, now: int) -> None:
        """Let a broker deliver again what a dead worker had taken."""
        rng = self._sim.rng
        self.actor = None
        self.ready_at = now + rng.randrange(200, 20_000)
        if self.message is not None and rng.random() < 0.5:
            self._sim.broker.send(self.message, rng.random() * 30)

    def take(self, message: Message) -> None:
        """Begin to work on a message."""
        self.message = message
        scheduler, engine = self._sim.scheduler, self.engine
        if not message.queue:
            body: Callable[[], object] = lambda: engine.stepper.step(message.shard)  # noqa: E731  # either of two
        else:
            silent: Any = Silent()
            self.owner = f"{self.process.name}-{len(scheduler.trace)}"
            body = Drawing(engine, message.queue, self.process.name, silent, owner=self.owner).run
        self.actor = scheduler.spawn(self.process.name, self.process, tolerant(body))


def tolerant(body: Callable[[], object]) -> Callable[[], None]:
    """Drop a message whose server does not answer: others see to it."""

    def run() -> None:
        try:
            body()
        except Unavailable:
            return

    return run

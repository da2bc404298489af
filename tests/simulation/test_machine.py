"""Hypothesis chooses what happens instead of a seed: a finding shrinks to the few events it needs."""

from __future__ import annotations

from contextlib import ExitStack

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.simulation.faults import Faults
from tests.simulation.gates import Message
from tests.simulation.seams import seams
from tests.simulation.simulation import Simulation
from tests.simulation.workers import Worker

_INDEX = st.integers(0, 5)


class Installation(RuleBasedStateMachine):
    """An installation whose faults are the rules. Each write is checked, and the end as that of a story."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._ended = False

    @initialize(seed=st.integers(0, 1000), switching=st.sampled_from((0.1, 0.5, 1.0)))
    def begin(self, seed: int, switching: float) -> None:
        """An installation nobody has used yet."""
        self.sim = Simulation(seed, size=0)
        self.sim.faults, self.sim.faulty = Faults(), False
        self.sim.scheduler.switching = switching
        self._stack.enter_context(seams(self.sim))
        self._stack.callback(self.sim.scheduler.end)
        self.sim.begin()

    # -- clients ---------------------------------------------------------------------------------------------------
    @rule()
    def submit(self) -> None:
        """A client submits something, with what may come after it."""
        workload = self.sim.workload
        workload.ops.clear()
        workload.add()
        for op in sorted(workload.ops, key=lambda op: op.at):
            self.sim.submitter([op])

    # -- time and turns --------------------------------------------------------------------------------------------
    @rule(turns=st.sampled_from((1, 5, 25)))
    def go_on(self, turns: int) -> None:
        """So many turns are taken."""
        until = self.sim.turns + turns
        self.sim.drive(lambda: self.sim.turns >= until)

    @rule(ms=st.sampled_from((1, 500, 6_500, 10_500, 61_000)))
    def advance(self, ms: int) -> None:
        """Time passes, and nobody gets anything done in it: leases run out."""
        self.sim.scheduler.clock.advance(ms)

    # -- messages --------------------------------------------------------------------------------------------------
    @rule(index=_INDEX)
    def drop(self, index: int) -> None:
        """A message is lost."""
        messages = self.sim.broker.messages
        if messages:
            del messages[index % len(messages)]

    @rule(index=_INDEX)
    def double(self, index: int) -> None:
        """A message arrives twice."""
        messages = self.sim.broker.messages
        if messages:
            messages.append(messages[index % len(messages)])

    @rule(shard=st.integers(0, 1))
    def disturb(self, shard: int) -> None:
        """A wake-up nobody needed."""
        self.sim.broker.send(Message(0, shard=shard))

    @rule()
    def ticket(self) -> None:
        """A ticket for which nothing stands in line, or that nobody needed."""
        self.sim.broker.send(Message(0, queue=self.sim.settings.attempts_queue))

    # -- processes and servers -------------------------------------------------------------------------------------
    @rule(index=_INDEX)
    def kill(self, index: int) -> None:
        """A worker dies where it stands."""
        self._worker(index).process.alive = False

    @rule(index=_INDEX, ms=st.sampled_from((7_000, 11_000, 45_000)))
    def freeze(self, index: int, ms: int) -> None:
        """A worker stands still where it is."""
        self._worker(index).process.frozen_until = self.sim.scheduler.clock.at + ms

    @rule(server=st.sampled_from(("store", "again", "blobs", "broker")))
    def outage(self, server: str) -> None:
        """A server does not answer, or twice, for a few turns."""
        rates = {server: 0.5}
        self.sim.faults, self.sim.faulty = msgspec.structs.replace(Faults(), **rates), True
        self.go_on(10)
        self.sim.faulty = False

    def _worker(self, index: int) -> Worker:
        workers = [*self.sim.steps, *self.sim.attempts]
        busy = [worker for worker in workers if worker.actor is not None and not worker.actor.done]
        return (busy or workers)[index % len(busy or workers)]

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """What a client was told of is stored, or was seen to end."""
        observer = self.sim.observer
        for path in self.sim.accepted:
            assert path in observer.lives or path in observer.ends, path

    def teardown(self) -> None:
        """Check that everything ends once nothing goes wrong any more."""
        with self._stack:
            if hasattr(self, "sim"):
                self.sim.settle()


TestInstallation = Installation.TestCase
TestInstallation.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)

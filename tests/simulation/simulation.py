"""One story: an installation of several processes on the twins, in virtual time, with everything going wrong that can.

First half: clients work while processes die and freeze, messages get lost, servers do not answer. Second half: nothing goes
wrong any more, and all that was accepted must end in a bounded time. Then everything is collected, and nothing may be left.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import timedelta

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import (
    ActionConflict,
    ActionNotFound,
    InvalidSpec,
    ReconcilerError,
    SignalRefused,
    SourceUnusable,
    Unavailable,
)
from reconciler.archive.layout import run_path
from reconciler.children.parent import Parent
from reconciler.client import Client
from reconciler.settings import Settings
from reconciler.stores.holds import RunLife
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.memory.catalog import MemoryCatalog
from reconciler.stores.memory.store import MemoryStore
from reconciler.sweeps.collect import collect
from reconciler.sweeps.resync import resync
from reconciler.wiring import Engine
from tests.simulation import ending, faults
from tests.simulation.ahead import VirtualAhead
from tests.simulation.checker import Observer, Violation
from tests.simulation.families import Families
from tests.simulation.gates import Broker, Gate, Message
from tests.simulation.oracles import Reservations, Units
from tests.simulation.scheduler import NEVER, Actor, Killed, Process, Scheduler
from tests.simulation.seams import seams, use_actors
from tests.simulation.workers import KNOWN, Worker
from tests.simulation.workload import Op, Theme, Workload, signalling
from tests.simulation.world import GPU, World
from worker.runner.runner import Call

_PATIENCE = 3_600_000
"""Virtual ms after the last fault within which everything must have ended: the longest back-offs, one after the other."""
_TOLD_EVERY = 5
_LIFE = 15_000
_KEEPER = "/reconciler-heartbeat"
"""How the threads are called that keep leases, and are never over."""
_UNSERVED = 30_000
"""Virtual ms a line may have launches, and neither a worker at it nor a ticket, while nothing goes wrong."""
_TURNS = 60_000
"""Turns of the scheduler that are taken for a live-lock."""
_REFUSALS = (ActionConflict, ActionNotFound, InvalidSpec, SignalRefused, SourceUnusable)
"""What a client may be told in a race with ends and collections."""


class Simulation:
    """All parts of one story.

    Attributes:
        faulty: whether anything goes wrong at the moment.
        accepted: paths of the actions clients were told of.
        stages: the parent each actor plays.
        aheads: the calls that the child of each actor was given before their turn.
    """

    def __init__(self, seed: int, size: int | None = None, theme: Theme | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.workload = Workload(self.rng, size, theme)
        self.faults = faults.drawn(self.rng, self.workload.theme.favourites)
        self.scheduler = Scheduler(self.rng, self.rng.choice((0.02, 0.1, 0.3, 0.6)))
        hours = self.rng.choice((0, 0, 1))
        self.settings = Settings(
            shards=2,
            quotas=(f"{GPU}=2",),
            inline_limit=self.rng.choice((1, 4096)),
            pack_outputs=(0, 120, 4096)[seed // 2 % 3],
            step_batch=self.rng.choice((1, 3, 100)),
            cache_heartbeat_grace=self.rng.choice((1, 3)),
            retention=timedelta(seconds=hours * 3600 or self.rng.choice((1, 60))),
            collect_objects=bool(hours) or self.rng.random() < 0.5,
            archive=timedelta(days=seed % 2 and 30),
        )
        clock = self.scheduler.clock
        self.store = MemoryStore(
            clock=clock,
            shards=self.settings.shards,
            step_lease=self.settings.step_lease,
            max_countdown=self.settings.max_countdown,
            crowd=2,
        )
        self.observer = self.store.on_write = Observer(self.store)
        self.blobs = MemoryBlobs()
        self.observer.keeps = self._is_remembered
        self.quotas = Units(clock=clock, lease=self.settings.quota_lease)
        self.catalog = MemoryCatalog(self.settings, clock=clock)
        self.reservations = Reservations(self.catalog, clock)
        self.broker = Broker(self)
        self.world = World(self)
        self.families = Families(self)
        self.stages: dict[Actor | None, Parent] = {}
        self.aheads: dict[Actor | None, VirtualAhead] = {}
        self.accepted: dict[str, int] = {}
        self.start = clock.at
        self.faulty = True
        self.turns = 0
        self._unserved_since = 0
        self.beat = Process("beat")
        self.people = Process("people")
        self.ignorant = self.rng.choice((0.0, 0.3, 0.8))
        self._period = self.rng.choice((2, 5, 15))
        self._gates = {
            "store": Gate(self, self.store, "store"),
            "blobs": Gate(self, self.blobs, "blobs"),
            "quotas": Gate(self, self.quotas, "quotas"),
            "catalog": Gate(self, self.reservations, "catalog"),
        }
        self.steps = [Worker(self, f"steps{n}") for n in range(3)]
        self.attempts = [Worker(self, f"attempts{n}") for n in range(self.rng.choice((1, 3)))]

    # -- parts -----------------------------------------------------------------------------------------------------
    def engine(self) -> Engine:
        """Return the engine of a new process."""
        engine = Engine(
            self.settings,
            store=self._gates["store"],
            blobs=self._gates["blobs"],
            messenger=self.broker,
            plugins=self.world.entries(),
            rng=self.rng,
            resource_manager=self._gates["quotas"],
            secret_manager=self.world,
            catalog=self._gates["catalog"],
        )
        use_actors(self, engine.stepper)
        return engine

    def client(self) -> Client:
        """Return a client that goes through the gates."""
        return Client(
            self._gates["store"],
            self._gates["blobs"],
            self.broker,
            self.settings,
        )

    def sibling(self, name: str, body: Callable[[], None]) -> Actor:
        """Return a further actor in the process of the one that runs."""
        actor = self.scheduler.current
        assert actor is not None
        return self.scheduler.spawn(f"{actor.name}/{name}", actor.process, body)

    def is_current(self, action: TaskAction) -> bool:
        """Whether a round still holds the action it works on."""
        record = self.store.shard(action.id).records.get(str(action.id))
        return record is not None and record.token == action.token

    def _is_remembered(self, life: str) -> bool:
        """Whether the archive has a run of which somebody was told that it is deleted."""
        run = RunLife.parse(life)
        uri = self.blobs.uri(run_path(run.run, run.incarnation))
        return life in self.workload.deleted and self.blobs.stat(uri) is not None

    def begins(self, call: Call) -> None:
        """Note that a worker begins to run a launch.

        Raises:
            Violation: it has given it back.
        """
        actor = self.scheduler.current
        assert actor is not None
        owner = next(worker.owner for worker in self.attempts if worker.process is actor.process)
        self.observer.begins(call.context["action"], call.context["attempt"], owner)
        self.families.begins(call.context["action"], call.context["attempt"])

    # -- clients and sweeps ----------------------------------------------------------------------------------------
    def submitter(self, ops: list[Op]) -> None:
        """Have a client do these things in order; if it dies, another one goes on."""
        name = f"client{len(self.scheduler.trace)}"
        process = Process(name)

        def work() -> None:
            try:
                while ops:
                    self._wait_until(ops[0].at)
                    if self._do(ops[0]):
                        ops.pop(0)
            except Killed:
                self.submitter(ops)

        self.scheduler.spawn(name, process, work)

    def _wait_until(self, at: int) -> None:
        start = self.start + at
        if self.scheduler.clock.at < start:
            self.scheduler.pause(start)

    def _do(self, op: Op) -> bool:
        """Whether it was done, or refused for good."""
        self.scheduler.note("client", op.label)
        try:
            op.do(self.client())
        except Unavailable:
            self.scheduler.sleep(1)
            return False
        except _REFUSALS as refusal:
            self.scheduler.note("refused", op.label, type(refusal).__name__)
            return True
        for name in op.names:
            self.accepted.setdefault(name, self.scheduler.clock.at)
        return True

    def knows(self, engine: Engine) -> Mapping[str, str]:
        """What the worker with this engine can run."""
        return next(worker.knows for worker in self.attempts if worker.engine is engine)

    def _guardians(self) -> None:
        """Let each living worker publish what it can run."""
        while True:
            for worker in self.attempts:
                if worker.process.alive and worker.process.frozen_until <= self.scheduler.clock.at:
                    self.store.tell_functions(
                        worker.process.name, self.settings.attempts_queue, worker.knows, _LIFE
                    )
            self.scheduler.sleep(_TOLD_EVERY)

    def _beat(self) -> None:
        store, blobs = self._gates["store"], self._gates["blobs"]
        ticks = 0
        while True:
            self.scheduler.sleep(self._period)
            ticks += 1
            try:
                resync(store, self.broker)
                if ticks % 10 == 0:
                    collect(store, self.settings, blobs)
            except ReconcilerError:
                self.scheduler.note("beat", "skipped")

    # -- the story -------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Tell it to its end.

        Raises:
            Violation: a promise was broken.
        """
        with seams(self):
            try:
                self.begin()
                stop = self.start + self.rng.choice((20_000, 120_000, 400_000))
                self.drive(lambda: self.scheduler.clock.at >= stop)
                self.settle()
            finally:
                self.scheduler.end()

    def begin(self) -> None:
        """Start clients and sweeps."""
        halves: tuple[list[Op], list[Op]] = ([], [])
        for op in self.workload.ops:
            halves[self.rng.random() < 0.5].append(op)
        for ops in halves:
            self.submitter(ops)
        self._start_beat()
        self._start_people()

    def _start_people(self) -> None:
        if self.workload.families:
            self.people = Process("people")
            self.scheduler.spawn("people", self.people, self._people)

    def _people(self) -> None:
        """Answer what functions ask."""
        while True:
            self.scheduler.sleep(self.rng.choice((1, 10, 60)))
            for shard in self.store._shards:
                for path in list(shard.records):
                    action = ActionId.parse(path)
                    record = self.store.get(action)
                    if record is None or record.is_terminal or not record.spec.condition_spec:
                        continue
                    if action.run in self.workload.families and record.signal is None:
                        self._do(Op(0, f"answer {action}", signalling(action, self.rng.randrange(9), "eve")))

    def _start_beat(self) -> None:
        self.beat = Process("beat")
        self.scheduler.spawn("beat", self.beat, self._beat)
        self.scheduler.spawn("guardians", self.beat, self._guardians)

    def settle(self) -> None:
        """Play the second half: nothing goes wrong any more, everything must end, and all is checked.

        Raises:
            Violation: a promise was broken.
        """
        self.heal()
        limit = self.scheduler.clock.at + _PATIENCE
        self.drive(lambda: self.over() or self.scheduler.clock.at > limit)
        ending.check(self)

    def heal(self) -> None:
        """End all faults, and let everybody who was asked answer."""
        self.faulty, self._unserved_since = False, self.scheduler.clock.at
        self.scheduler.note("healed")
        for worker in self.attempts:
            worker.knows = KNOWN
        if not self.beat.alive:
            self._start_beat()
        if not any(actor.process is self.people for actor in self.scheduler.actors):
            self._start_people()
        answers = [
            Op(0, f"answer {action}", signalling(action, 1, "eve")) for action in self.workload.conditions
        ]
        # after the clients, which may still have to submit what is to be answered
        self.scheduler.spawn("janitor", Process("janitor"), lambda: self._answer(answers))

    def _answer(self, ops: list[Op]) -> None:
        clients = [a for a in self.scheduler.actors if a.name.startswith("client")]
        self.scheduler.wait_for(lambda: all(actor.done for actor in clients))
        while ops:
            if self._do(ops[0]):
                ops.pop(0)

    def over(self) -> bool:
        """Whether there is nothing left to do."""
        if any(shard.due for shard in self.store._shards) or self.broker.messages:
            return False
        if any(
            actor.process not in {self.beat, self.people} and not actor.name.endswith(_KEEPER)
            for actor in self.scheduler.actors
        ):
            return False
        return all(life.phase.is_terminal() for life in self.observer.lives.values())

    def drive(self, done: Callable[[], bool]) -> None:
        """Take turns until it is done, or nothing can happen any more.

        Raises:
            Violation: of any actor, and any error no actor should end with; or nothing ever ends.
        """
        try:
            self.scheduler.drive(lambda: self._choose(done))
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise Violation(f"an actor ended with an error no caller is told of: {text}") from error

    def _choose(self, done: Callable[[], bool]) -> Actor | None:
        """Who goes on; messages are delivered and the clock is moved on the way."""
        scheduler, rng = self.scheduler, self.rng
        while not done():
            self.turns += 1
            if self.turns > _TURNS:
                raise Violation(f"still busy after {_TURNS} turns: a live-lock")
            now = scheduler.clock.at
            ready = scheduler.ready()
            deliverable = self._deliverable(now)
            choices = len(ready) + len(deliverable)
            if not choices:
                if not self._move_on(now):
                    return None
                continue
            if rng.random() < 0.1:
                scheduler.clock.advance(rng.randrange(30))
            chosen = rng.randrange(choices)
            if chosen < len(ready):
                return ready[chosen]
            message, worker = deliverable[chosen - len(ready)]
            self.broker.messages.remove(message)
            worker.take(message)
        return None

    def _deliverable(self, now: int) -> list[tuple[Message, Worker]]:
        messages = self.broker.messages
        if not messages:
            return []
        steps = next((w for w in self.steps if w.free(now)), None)
        attempts = next((w for w in self.attempts if w.free(now)), None)
        found = []
        for message in messages:
            worker = attempts if message.queue else steps
            if message.at <= now and worker is not None:
                found.append((message, worker))
        return found

    def _served(self, now: int) -> None:
        """Check that somebody is at work for each queue whose lines have launches, or will be.

        Raises:
            Violation: nobody, for too long.
        """
        queue = self.settings.attempts_queue
        waits = any(shard.lines for shard in self.store._shards)
        at_work = any(worker.actor is not None and not worker.actor.done for worker in self.attempts)
        told = any(message.queue == queue for message in self.broker.messages)
        if self.faulty or not waits or at_work or told:
            self._unserved_since = now
        # who sends tickets again may stand still since the time when things went wrong, and begin with an old look
        elif now - max(self._unserved_since, self.beat.frozen_until) > _UNSERVED:
            raise Violation(f"launches stand in lines, and for {_UNSERVED / 1000:g} s nobody was told of it")

    def _move_on(self, now: int) -> bool:
        self._served(now)
        times = [self.scheduler.next_time()]
        times += [m.at for m in self.broker.messages if m.at > now]
        if self.broker.messages:
            for worker in (*self.steps, *self.attempts):
                times += [worker.ready_at, worker.process.frozen_until]
        at = min((t for t in times if t > now), default=NEVER)
        if at >= NEVER:
            return False
        self.scheduler.clock.move_to(at)
        return True


def story_of(sim: Simulation) -> str:
    """Return all that happened, as lines of text: equal for equal seeds."""
    lines = []
    for entry in sim.scheduler.trace:
        at, *rest = entry
        assert isinstance(at, int)
        lines.append(f"{(at - sim.start) / 1000:10.3f} {' '.join(map(str, rest))}")
    return "\n".join(lines)

"""The ways from product code to the outside: each call of a twin, and each message, passes the scheduler and the faults."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from reconciler.api.errors import BlobUnavailable, BrokerUnavailable, StoreUnavailable, Unavailable
from reconciler.stores.archiving import RawRun
from tests.simulation.scheduler import Killed

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_FREE = frozenset({"now", "shard_of", "uri", "register_quota", "quota_for", "quota_or_none", "subscribe"})
"""Methods that reach no server."""
_LEASES = (6_000, 10_000, 30_000, 30_000, 60_000)
"""Of attempts, steps, reservations and quotas, ms: who freezes for a little longer comes back too late."""
_BETWEEN = 9_000
"""Less than the lease of a step, ms: others come between, and who let them by is not too late."""
_ERRORS: dict[str, type[Unavailable]] = {"blobs": BlobUnavailable, "broker": BrokerUnavailable}


class Gate:
    """Stands for a twin; every call of a method that reaches a server is a point where anything may happen."""

    def __init__(self, sim: Simulation, twin: Any, kind: str) -> None:
        self._sim = sim
        self._twin = twin
        self._kind = kind

    def __getattr__(self, name: str) -> Any:
        """Return the method of the twin, behind the gate."""
        target = getattr(self._twin, name)
        if name in _FREE or not callable(target):
            return target

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return passing(self._sim, self._kind, name, lambda: target(*args, **kwargs))
            except BlobUnavailable:
                if name != "create_many":
                    raise
                return [False] * len(args[0])  # it never raises for a server

        self.__dict__[name] = call
        return call


def passing(sim: Simulation, kind: str, name: str, do: Callable[[], Any]) -> Any:
    """Pass one call of a server, with what may happen before and after it."""
    scheduler = sim.scheduler
    scheduler.point()
    fate = _fate(sim, kind, name)
    if fate:
        result = _suffer(sim, kind, name, do, fate)
    else:
        try:
            result = do()
        except Exception as error:
            scheduler.note(kind, name, type(error).__name__)
            raise
        scheduler.note(kind, name, brief(result))
    scheduler.point()
    return result


def _fate(sim: Simulation, kind: str, call: str) -> str:
    """What goes wrong with a call; nothing, most of the times."""
    if not sim.faulty:
        return ""
    faults, draw = sim.faults, sim.rng.random()
    if faults.favourite == f"{kind}.{call}" and sim.rng.random() < faults.favoured:
        return "pause"
    if faults.outpaced and call == "commit" and _is_step(sim) and sim.rng.random() < faults.favoured:
        return "outpaced"
    for name in ("kill", "freeze", "lag", *_KINDS[kind]):
        draw -= getattr(faults, name)
        if draw < 0:
            return name
    return ""


def _is_step(sim: Simulation) -> bool:
    actor = sim.scheduler.current
    return actor is not None and actor.name.startswith("steps")


_KINDS: dict[str, tuple[str, ...]] = {
    "store": ("store", "again"),
    "quotas": ("store", "again"),
    "catalog": ("store", "again"),
    "blobs": ("blobs",),
    "broker": ("broker",),
}


def _suffer(sim: Simulation, kind: str, name: str, do: Callable[[], Any], fate: str) -> Any:
    scheduler, rng = sim.scheduler, sim.rng
    first = fate not in {"pause", "outpaced"} and rng.random() < 0.5
    scheduler.note(kind, name, fate, "after" if first else "before")
    result = None
    if first:  # the call takes effect, and then it happens
        with suppress(Exception):
            result = do()
    actor = scheduler.current
    assert actor is not None
    match fate:
        case "kill":
            actor.process.alive = False
            raise Killed(actor.name)
        case "outpaced":
            sim.broker.hurry()
            actor.process.frozen_until = scheduler.clock.at + rng.randrange(_BETWEEN)
            scheduler.pause()
        case "freeze" | "pause":
            least = rng.choice(_LEASES) if fate == "pause" else 0
            length = least + rng.randrange(rng.choice((1_000, 15_000, 60_000)))
            actor.process.frozen_until = scheduler.clock.at + length
            scheduler.pause()
        case "lag":
            scheduler.clock.advance(rng.randrange(1, 3_000))
        case "again":
            with suppress(Exception):
                do()
            return do()
        case _:
            raise _ERRORS.get(kind, StoreUnavailable)(f"{kind}.{name} is simulated not to answer")
    return result if first and result is not None else do()


def brief(result: Any) -> object:
    """What a trace says of an answer."""
    actions = getattr(result, "actions", None)
    if actions is not None and not isinstance(result, RawRun):
        return tuple((str(action.id), action.token) for action in actions)
    outcomes = getattr(result, "outcomes", None)
    if outcomes is not None:
        return tuple(str(getattr(outcome, "value", outcome)) for outcome in outcomes)
    if isinstance(result, int | str | None):
        return result
    return type(result).__name__


class Message(msgspec.Struct, frozen=True):
    """A message under way: a wake-up of a shard, or a ticket of a queue. `at` is when it arrives."""

    at: int
    shard: int = -1
    queue: str = ""


class Broker:
    """A `Messenger` whose messages get lost, doubled, late and out of order.

    Attributes:
        messages: those under way.
    """

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.messages: list[Message] = []

    def wake(self, shard: int, countdown: float = 0.0) -> None:
        """See `Messenger.wake`."""
        passing(self._sim, "broker", "wake", lambda: self.send(Message(0, shard=shard), countdown))

    def ticket(self, queue: str) -> None:
        """See `Messenger.ticket`."""
        passing(self._sim, "broker", "ticket", lambda: self.send(Message(0, queue=queue)))

    def waiting(self, queue: str) -> int:
        """See `Messenger.waiting`."""
        return int(passing(self._sim, "broker", "waiting", lambda: self._waiting(queue)))

    def _waiting(self, queue: str) -> int:
        now = self._sim.scheduler.clock.at
        return sum(message.queue == queue and message.at <= now for message in self.messages)

    def send(self, message: Message, countdown: float = 0.0) -> None:
        """Put a message on its way."""
        sim = self._sim
        at = sim.scheduler.clock.at + int(countdown * 1000)
        copies = 1
        if sim.faulty:
            rng, faults = sim.rng, sim.faults
            copies -= rng.random() < faults.drop
            copies += rng.random() < faults.double
        for _ in range(copies):
            late = 0
            if sim.faulty and sim.rng.random() < sim.faults.delay:
                late = sim.rng.randrange(60_000)
            self.messages.append(msgspec.structs.replace(message, at=at + late))

    def hurry(self) -> None:
        """Let all messages under way arrive now."""
        now = self._sim.scheduler.clock.at
        self.messages = [msgspec.structs.replace(m, at=min(m.at, now)) for m in self.messages]

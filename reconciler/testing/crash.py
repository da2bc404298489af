"""Workers that die at a chosen write, and what they leave behind (docs/testing.md, "A worker that dies at each write").

A worker reaches the stores and the broker through doors. A door counts the calls that may write, and lets the worker die
right before or right after one of them: it raises `Crashed`, which no `except Exception` catches. The lab then goes on with
a fresh worker on the same stores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import msgspec

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.event import AuditEntry
from reconciler.stores.base import ClaimReport, Finished, Write
from reconciler.stores.catalog import CacheKey
from reconciler.stores.concluding import Concluded
from reconciler.stores.lines import Draw, GivenBack

if TYPE_CHECKING:
    from reconciler.testing.lab import Lab

T = TypeVar("T")
Moment = Literal["before", "after"]
_INCARNATION = re.compile("@[a-z2-7]{10}(?=/)")

WRITES = {
    "store": frozenset({
        "create", "claim", "commit", "wake", "look", "nudge", "start_attempt", "heartbeat", "finish_attempts", "conclude",
        "announce", "pick", "draw", "give_back", "prioritize", "move", "set_queue", "decline_attempt",
        "stop_attempt", "keep_step", "tell_functions", "publish", "request_abort",
        "signal", "collect", "seal", "set_archived", "set_spilled", "take_turn", "note_garbage", "drop_garbage",
        "hold", "let_go", "trim_events", "record_audit",
    }),
    "blobs": frozenset({"put", "delete", "delete_prefix"}),
    "catalog": frozenset({"put", "delete", "get_or_extend_reservation", "release_reservation"}),
    "quotas": frozenset({"allocate", "renew", "release"}),
    "messenger": frozenset({"wake", "ticket"}),
    "webhooks": frozenset({"post"}),
}  # fmt: skip
"""The calls that may write, by door."""
_READS = ("store.set_queue",)
"""Told only a name, these change nothing. How often a client looks depends on how fast the machine is."""


class Crashed(BaseException):
    """The worker died here. Not an `Exception`, so that no error handler survives it."""


class WritePoint(msgspec.Struct, frozen=True):
    """One call that may write.

    Attributes:
        number: which call of the lab's life it is, from 1.
        verb: door and call, as in `store.commit`.
        about: what it was about; the same write tried again is about the same.
        moment: before or after it took effect.
    """

    number: int
    verb: str
    about: str
    moment: Moment

    def __str__(self) -> str:
        return f"{self.moment} write {self.number}, {self.verb} {self.about}".rstrip()


Crash: TypeAlias = Callable[[WritePoint], bool]
"""Asked twice for each call, before and after: whether the worker dies there."""


def never(point: WritePoint) -> bool:
    """Let no worker die, but count the writes."""
    del point
    return False


def crash_at(number: int, moment: Moment) -> Crash:
    """Die at one call only."""
    return lambda point: (point.number, point.moment) == (number, moment)


def crash_at_each(moment: Moment) -> Crash:
    """Die at every write when it happens for the first time; the repetition goes through."""
    seen: set[tuple[str, str]] = set()

    def first(point: WritePoint) -> bool:
        what = (point.verb, point.about)
        if point.moment != moment or what in seen:
            return False
        seen.add(what)
        return True

    return first


class Crashes:
    """The counted writes of a lab, and which of them kill a worker.

    Attributes:
        writes: the calls that changed something, in order.
        deaths: where workers died.
    """

    def __init__(self, crash: Crash) -> None:
        self.writes: list[WritePoint] = []
        self.deaths: list[WritePoint] = []
        self._crash = crash
        self._calls = 0

    @property
    def worker(self) -> int:
        """Return the number of the living worker: the first is 0."""
        return len(self.deaths)

    def door(self, name: str, inner: T) -> T:
        """Wrap a store or the broker for a worker that may die; `name` is a key of `WRITES`."""
        door: Any = _Door(name, inner, self)
        return door  # type: ignore[no-any-return]  # it has every attribute of the inner one

    def write(self, verb: str, call: Callable[..., Any], args: Sequence[Any], named: dict[str, Any]) -> Any:  # noqa: ANN401  # whatever the call answers
        """Make one call that may write.

        Raises:
            Crashed: the worker dies here.
        """
        self._calls += 1
        number, about = self._calls, _about(args)
        self._maybe_die(WritePoint(number, verb, about, "before"))
        answer = call(*args, **named)
        if isinstance(answer, ClaimReport):
            about = _about(answer.actions)
        elif isinstance(answer, Draw):
            about = _about([action.id for action in answer.actions])  # not which launches; as for a report
        if not isinstance(answer, ClaimReport | Draw) or answer.actions:
            point = WritePoint(number, verb, about, "after")
            self.writes.append(point)
            self._maybe_die(point)
        return answer

    def _maybe_die(self, point: WritePoint) -> None:
        if self._crash(point):
            self.deaths.append(point)
            raise Crashed(str(point))


class _Door:
    """Passes on every attribute of what it wraps; calls that may write go through `Crashes.write`.

    It is shut when its worker has died: nothing that worker left running may get through any more.
    """

    def __init__(self, name: str, inner: object, crashes: Crashes) -> None:
        self._name, self._inner, self._crashes = name, inner, crashes
        self._worker = crashes.worker

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # any attribute of the inner one
        if self._worker != self._crashes.worker:
            raise Crashed(f"the worker that asks for {self._name}.{name} has died before")
        found = getattr(self._inner, name)
        if name not in WRITES[self._name]:
            return found
        verb = f"{self._name}.{name}"
        if verb in _READS:
            return lambda *args, **named: (
                self._crashes.write(verb, found, args, named) if named else found(*args)
            )
        return lambda *args, **named: self._crashes.write(verb, found, args, named)


def _about(part: object) -> str:
    """Describe a write so that the next one differs but its repetition does not: the actions, and how far each is."""
    match part:
        case list() | tuple():
            text = ", ".join(filter(None, map(_about, part)))
        case Write():
            text = _about(part.action)
        case TaskAction():
            status = part.status
            # not the version: a launch that is sent again and again must come through at last
            text = f"{part.id} {status.plugin_phase or 'new'} {status.attempts}-{status.launches}"
        case Finished() | GivenBack():
            # not the relaunch: a worker that dies each time it reports another one would never come through
            text = f"{part.action} {part.launch.partition('-')[0]}"
        case Concluded():
            text = _about(part.finished)
        case AuditEntry():
            text = f"{part.id} {part.reason}"
        case str() | ActionId() | CacheKey():
            text = _INCARNATION.sub("", str(part))  # drawn anew by a client that starts again
        case _:
            text = ""
    return text


def every_crash(scenario: Callable[[Crash], Lab]) -> Iterator[Lab]:
    """Play a scenario with a worker that dies at every write; the caller checks each end.

    First undisturbed; then once for each write with a death before it, and once with a death after it; at last twice so
    that every write kills the worker the first time it happens.

    Args:
        scenario: builds a lab, `Lab(..., crash=crash)`, plays it to its end, and returns it. The same each time.

    Yields:
        Each lab as the scenario left it; `lab.deaths` says where workers died.
    """
    undisturbed = scenario(never)
    yield undisturbed
    for write in undisturbed.writes:
        yield scenario(crash_at(write.number, "before"))
        yield scenario(crash_at(write.number, "after"))
    yield scenario(crash_at_each("before"))
    yield scenario(crash_at_each("after"))

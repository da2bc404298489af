"""Carry out what a client asks of queues: pause, resume, move, limit, look."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from reconciler.api.audit import Ruling, Who, ruling
from reconciler.api.bounds import MOST
from reconciler.api.errors import InvalidSpec
from reconciler.api.queues import check_attempts_queue
from reconciler.broker.messages import Messenger
from reconciler.client.queue_limits import QueueLimits
from reconciler.settings import Settings
from reconciler.stores.lines import Lines
from reconciler.tickets import announce, announce_queue


class QueueFacts(msgspec.Struct, frozen=True):
    """The rules of a queue, and what waits in it.

    Attributes:
        name: of the queue.
        waiting: launches that stand in its lines.
        paused: whether its workers are given nothing new.
        limit: how many launches may wait until submissions are refused; None = any number.
        ruled: who paused, resumed, moved or limited it, the newest 100, oldest first.
    """

    name: str
    waiting: int
    paused: bool
    limit: int | None
    ruled: tuple[Ruling, ...] = ()


class Queues:
    """The queues of an installation. May be shared between threads.

    Args:
        lines: of the store.
        messenger: takes tickets.
        limits: is told when one changes.
        settings: name the queues that are not for attempts.
        who: says who asks.
    """

    def __init__(
        self,
        lines: Lines,
        messenger: Messenger,
        limits: QueueLimits,
        settings: Settings,
        who: Callable[[], Who],
    ) -> None:
        self._who = who
        self._lines = lines
        self._messenger = messenger
        self._limits = limits
        self._settings = settings

    def pause(self, queue: str) -> None:
        """Give its workers nothing new; see `Client.pause_queue`."""
        self._lines.set_queue(self._checked(queue), pause=True, note=self._note("pause"))

    def resume(self, queue: str) -> None:
        """Let a paused queue go on; see `Client.resume_queue`."""
        self._lines.set_queue(self._checked(queue), pause=False, note=self._note("resume"))
        announce_queue(self._lines, self._messenger, queue)

    def limit(self, queue: str, limit: int | None) -> None:
        """Bound what may wait; see `Client.limit_queue`."""
        most = -1 if limit is None else _checked_limit(limit)
        note = self._note("no limit" if limit is None else f"limit {limit}")
        self._lines.set_queue(self._checked(queue), limit=most, note=note)
        self._limits.forget(queue)

    def move(self, queue: str, to: str) -> int:
        """Move what waits to another queue; see `Client.move_queue`."""
        if self._checked(queue) == self._checked(to):
            raise InvalidSpec(f"the launches of queue {queue} stand there already; name another queue")
        moved, opened = self._lines.move(queue, to)
        for name, what in ((queue, f"move {moved} to {to}"), (to, f"move {moved} from {queue}")):
            self._lines.set_queue(name, note=self._note(what))
        announce(self._lines, self._messenger, opened)
        return moved

    def facts(self, names: Iterable[str]) -> list[QueueFacts]:
        """Return the rules of some queues and what waits in them; see `Client.queues`."""
        wanted = [self._checked(name) for name in names]
        waiting = self._lines.launches_waiting()
        all_ = {self._settings.attempts_queue, *waiting, *self._lines.queues_with_rules()}
        found = wanted or sorted(all_)
        return [self._facts(name, waiting.get(name, 0)) for name in dict.fromkeys(found)]

    def _facts(self, name: str, waiting: int) -> QueueFacts:
        state = self._lines.set_queue(name)
        limit = None if state.limit < 0 else state.limit
        return QueueFacts(name, waiting, state.paused, limit, tuple(self._lines.rulings(name)))

    def _note(self, what: str) -> Ruling | None:
        return ruling(what, self._who())

    def _checked(self, queue: str) -> str:
        return check_attempts_queue(queue, self._settings.steps_queue, self._settings.events_exchange)


def _checked_limit(limit: object) -> int:
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit <= MOST:
        raise InvalidSpec(
            f"the limit of a queue must be a whole number of launches up to {MOST}, or None for any number, "
            f"got {limit!r:.100}"
        )
    return int(limit)  # Redis takes no number of an enum

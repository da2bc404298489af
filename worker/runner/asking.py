"""Serve the requests of a running call, on the runner's side: to the desk and back to the child."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol, get_args

from reconciler.children.requests import Answer, Request, Suspending
from worker.runner.messages import FromChild
from worker.runner.process import ChildProcess

_REQUESTS = get_args(Request)


class Desk(Protocol):
    """Serves the requests of a call (`reconciler.children.desk`)."""

    def take(self, request: Request) -> None:
        """Take a request; `work` carries it out."""

    def work(self) -> list[Answer]:
        """Carry out what was asked for, as far as that is possible now."""

    def pause(self) -> float | None:
        """Return the seconds until `work` has something to do; None: not before a request or news come."""

    def names(self, numbers: Sequence[int]) -> list[str]:
        """Name the actions these requests have started."""

    def close(self) -> None:
        """Stop watching."""


MakeDesk = Callable[[Callable[[], None]], Desk]
"""Makes the desk of a call; given what to call, in any thread, when there are news."""


class Asking:
    """The requests of one call. The desk is made with the first one: most calls have none.

    Attributes:
        suspending_since: when the call said that it is about to be suspended, by the monotonic clock; None = it did not.
    """

    def __init__(self, make: MakeDesk | None, told: Callable[[], None]) -> None:
        self._make = make
        self._told = told
        self._desk: Desk | None = None
        self.suspending_since: float | None = None

    def take(self, message: FromChild | None) -> bool:
        """Take a message if it is a request; False when it is none."""
        if not isinstance(message, _REQUESTS):
            return False
        if isinstance(message, Suspending):
            self.suspending_since = monotonic()
        elif self._make is not None:
            if self._desk is None:
                self._desk = self._make(self._told)
            self._desk.take(message)
        return True

    def work(self, child: ChildProcess) -> None:
        """Carry out what was asked for, and send the answers to the child."""
        if self._desk is not None and (answers := self._desk.work()):
            child.answer(answers)

    def pause(self, seconds: float) -> float:
        """Shorten a wait to the time at which there is something to do."""
        pause = self._desk.pause() if self._desk is not None else None
        return seconds if pause is None else min(seconds, pause)

    def names(self, numbers: Sequence[int]) -> list[str]:
        """Name the actions these requests have started."""
        return self._desk.names(numbers) if self._desk is not None else []

    def close(self) -> None:
        """Close the desk with the call."""
        if self._desk is not None:
            self._desk.close()

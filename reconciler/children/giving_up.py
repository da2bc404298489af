"""Waits that a time limit or a cancellation has given up: each later pass of the attempt gives them up again (R89)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from reconciler.children import requests as ask
from reconciler.children.errors import Suspended


class Call(Protocol):
    """The call that waits (`Parent`), as far as it matters here."""

    suspended: bool

    def number(self) -> int:
        """Draw the number of the next request."""
        ...

    def post(self, request: ask.Request) -> int:
        """Send a request that is answered."""
        ...

    async def hold(self, told: int) -> None:
        """Wait to be cancelled; meanwhile report only ends until this time."""
        ...


class GivenUp:
    """The waits that earlier passes have given up, by name, and how often this pass has waited for each.

    Args:
        call: whose.

    Attributes:
        told: when the newest end was that the function was told of, ms.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._known: dict[str, int] = {}
        self._turns: dict[Hashable, int] = defaultdict(int)
        self.told = 0

    def learn(self, waits: Mapping[str, int]) -> None:
        """Note what earlier passes have given up, and how far they had been told of ends until then."""
        self._known.update(waits)

    def turn(self, what: Hashable) -> int:
        """Count how often this was waited for before."""
        self._turns[what] += 1
        return self._turns[what] - 1

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def keep(self, turn: str, child: int = 0, reason: str = "") -> None:
        """Record that a wait is given up; see `requests.GiveUp`.

        Raises:
            HistoryTooLong: the function has asked for too much.
        """
        number = self._call.number()
        self._call.post(ask.GiveUp(number=number, turn=turn, told=self.told, child=child, reason=reason))

    @contextmanager
    def on_cancel(self, turn: str, child: int = 0, reason: str = "") -> Iterator[None]:
        """Record that the wait inside the `with` block is given up if it is cancelled."""
        try:
            yield
        except BaseException as error:
            if not self._call.suspended and not isinstance(error, Exception | Suspended):
                self.keep(turn, child, reason)
            raise

    async def again(self, name: str) -> bool:
        """Wait to be cancelled if the pass before gave up here; tell whether it did."""
        told = self._known.get(name)
        if told is not None:
            await self._call.hold(told)
        return told is not None


def wait_name(action: str, turn: int | str) -> str:
    """Name a wait for an action by its path and by how often it was waited for before."""
    return f"{action}/{turn}"

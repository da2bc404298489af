"""A messenger that only remembers: for the in-memory twin of the stores, the simulator and tests."""

from __future__ import annotations

from typing import Final

import msgspec


class Wake(msgspec.Struct, frozen=True):
    """One call of `wake`; the attributes are its arguments."""

    shard: int
    countdown: float = 0.0


class RecordingMessenger:
    """A `Messenger` that keeps what it was given, in order, and sends nothing.

    Attributes:
        wakes: every wake-up asked for.
        tickets: the queue of every ticket.
        sends: False: what is submitted runs in this process, which knows its functions.
    """

    sends: Final = False

    def __init__(self) -> None:
        self.wakes: list[Wake] = []
        self.tickets: list[str] = []

    def wake(self, shard: int, countdown: float = 0.0) -> None:
        """Remember a wake-up."""
        self.wakes.append(Wake(shard, countdown))

    def ticket(self, queue: str) -> None:
        """Remember a ticket."""
        self.tickets.append(queue)

    def waiting(self, queue: str) -> int:
        """Report that nothing waits: the test itself delivers the messages it wants delivered."""
        del queue
        return 0

"""A messenger that only remembers: for the in-memory twin of the stores, the simulator and tests."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reconciler.broker.messages import Launch


class Wake(msgspec.Struct, frozen=True):
    """One call of `wake`; the attributes are its arguments."""

    shard: int
    countdown: float = 0.0


class RecordingMessenger:
    """A `Messenger` that keeps what it was given, in order, and sends nothing.

    Attributes:
        wakes: every wake-up asked for.
        launches: every launch, those of one call in their order.
    """

    def __init__(self) -> None:
        self.wakes: list[Wake] = []
        self.launches: list[Launch] = []

    def wake(self, shard: int, countdown: float = 0.0) -> None:
        """Remember a wake-up."""
        self.wakes.append(Wake(shard, countdown))

    def launch(self, launches: Sequence[Launch]) -> None:
        """Remember launches."""
        self.launches.extend(launches)

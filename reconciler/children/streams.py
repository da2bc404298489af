"""The maps whose results a function reads as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from reconciler.children.arrivals import Arrivals
from reconciler.children.requests import End, Ends


class Stream(Protocol):
    """A reader of the ends of members, one after the other."""

    def take(self, found: Ends) -> Iterator[tuple[int, End]]:
        """Take ends, and give each with the time when the function is to be told of it."""
        ...

    def deliver(self, end: End) -> None:
        """Take one end of which the function is told now."""
        ...


class Streams:
    """The streams of one call, by the numbers of their requests."""

    def __init__(self) -> None:
        self._streams: dict[int, Stream] = {}

    def add(self, number: int, stream: Stream) -> None:
        """Let a stream take the answers to this number."""
        self._streams[number] = stream

    def take(self, found: Ends, arrived: Arrivals) -> bool:
        """Note what has come for a stream; False if it is for none."""
        stream = self._streams.get(found.number)
        if stream is None:
            return False
        for at, end in stream.take(found):
            arrived.add(at, found.number, end)
        return True

    def deliver(self, number: int, end: End) -> bool:
        """Give an end to its stream; False when it is for none."""
        stream = self._streams.get(number)
        if stream is not None:
            stream.deliver(end)
        return stream is not None

"""The child's side of requests during a call: they go over the socket that brings its calls."""

from __future__ import annotations

import select
import socket
from typing import Any

import msgspec

from reconciler.api.errors import InvalidSpec
from reconciler.children.requests import Answer, Request
from worker.runner.frames import FrameReader, pack, receive_whole, send_whole


def too_large_to_ask(size: int, largest: int) -> str:
    """Write what a function is told that gives more to a task, or keeps more, than fits in one object."""
    return (
        f"what the function hands over here has {size} bytes, {largest} are allowed. Store large data yourself and pass "
        "where it lies, or raise RECONCILER_MAX_OBJECT_SIZE"
    )


class PipeWay:
    """Requests and answers of one call.

    Args:
        connection: to the supervisor.
        reader: of its frames, with what has come of the next one.
        decoder: of its messages.
        number: of the call.
        largest: most bytes of a request.
    """

    brings = True

    def __init__(
        self,
        connection: socket.socket,
        reader: FrameReader,
        decoder: msgspec.msgpack.Decoder[Any],
        number: int,
        largest: int,
    ) -> None:
        self._number = number
        self._largest = largest
        self._connection = connection
        self._reader = reader
        self._decoder = decoder

    @property
    def descriptor(self) -> int | None:
        """The socket; readable when an answer comes."""
        return self._connection.fileno()

    def post(self, request: Request) -> None:
        """Send a request.

        Raises:
            InvalidSpec: it is larger than the supervisor takes; nothing was sent.
        """
        frame = pack(request, self._number)
        if len(frame) > self._largest:
            raise InvalidSpec(too_large_to_ask(len(frame), self._largest))
        send_whole(self._connection, frame)

    def receive(self, seconds: float) -> list[Answer]:
        """Return the answers that have come; wait at most `seconds` for the first one.

        Raises:
            EOFError: the supervisor has gone.
        """
        found: list[Answer] = []
        while self._readable(0 if found else seconds):
            frame = receive_whole(self._reader, self._connection)
            if (
                self._reader.number == self._number
            ):  # else an answer to the call before, which did not wait for it
                found.append(self._decoder.decode(frame))
        return found

    def _readable(self, seconds: float) -> bool:
        watch = select.poll()
        watch.register(self._connection, select.POLLIN)
        return bool(watch.poll(seconds * 1000))

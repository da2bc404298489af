"""The child's side of requests during a call: they go over the socket that brings its calls."""

from __future__ import annotations

import select
import socket
from typing import Any

import msgspec

from reconciler.children.requests import Answer, Request
from worker.runner.frames import FrameReader, pack


class PipeWay:
    """Requests and answers of one call.

    Args:
        connection: to the supervisor.
        reader: of its frames, with what has come of the next one.
        decoder: of its messages.
    """

    brings = True

    def __init__(
        self, connection: socket.socket, reader: FrameReader, decoder: msgspec.msgpack.Decoder[Any]
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._decoder = decoder

    @property
    def descriptor(self) -> int | None:
        """The socket; readable when an answer comes."""
        return self._connection.fileno()

    def post(self, request: Request) -> None:
        """Send a request."""
        self._connection.sendall(pack(request, self._reader.number))

    def receive(self, seconds: float) -> list[Answer]:
        """Return the answers that have come; wait at most `seconds` for the first one.

        Raises:
            EOFError: the supervisor has gone.
        """
        found: list[Answer] = []
        while self._readable(0 if found else seconds):
            frame = self._reader.receive(self._connection)
            while frame is None:
                frame = self._reader.receive(self._connection)
            found.append(self._decoder.decode(frame))
        return found

    def _readable(self, seconds: float) -> bool:
        watch = select.poll()
        watch.register(self._connection, select.POLLIN)
        return bool(watch.poll(seconds * 1000))

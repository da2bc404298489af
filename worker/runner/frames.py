"""Frames on the socket between a runner and its child: 4 bytes of length, 8 of a number (little endian), msgpack.

The number is that of the call, and nobody can know it before: what a function writes ahead is an answer to no call.
"""

from __future__ import annotations

import fcntl
import select
import socket
from collections.abc import Sequence
from typing import Final

import msgspec

from worker.runner.messages import FromChild, ToChild

_LENGTH: Final = 4
HEADER: Final = 12
OVERHEAD: Final = 1 << 20
"""Most bytes of a frame beside inputs or outputs: names, error texts, environment."""

_ENCODER: Final = msgspec.msgpack.Encoder()


def pack(message: ToChild | FromChild, number: int) -> bytearray:
    """Pack a message that belongs to the call of this number into a frame."""
    frame = bytearray(HEADER)
    _ENCODER.encode_into(message, frame, HEADER)
    frame[:_LENGTH] = (len(frame) - HEADER).to_bytes(_LENGTH, "little")
    frame[_LENGTH:HEADER] = number.to_bytes(HEADER - _LENGTH, "little")
    return frame


def number_of(frame: bytes) -> int:
    """Return the number of the call that a whole frame belongs to."""
    return int.from_bytes(frame[_LENGTH:HEADER], "little")


def send_whole(connection: socket.socket, frame: bytearray) -> None:
    """Send a frame, also when somebody has made the socket non-blocking or given it a time limit.

    Raises:
        OSError: the other side has closed.
    """
    with memoryview(frame) as rest:
        sent = 0
        while sent < len(rest):
            try:
                sent += connection.send(rest[sent:])
            except BlockingIOError:
                _wait(connection, select.POLLOUT)


def receive_whole(reader: FrameReader, connection: socket.socket) -> bytearray:
    """Receive a frame, as `send_whole` sends one.

    Raises:
        EOFError: the other side has closed.
        OSError: as above.
        ValueError: what arrives is not a frame.
    """
    while True:
        try:
            frame = reader.receive(connection)
        except BlockingIOError:
            _wait(connection, select.POLLIN)
        else:
            if frame is not None:
                return frame


def readable(connections: Sequence[socket.socket]) -> bool:
    """Wait until there is something to read; tell whether that is so with the first one."""
    watch = select.poll()
    for connection in connections:
        watch.register(connection, select.POLLIN)
    return connections[0].fileno() in dict(watch.poll())


def _wait(connection: socket.socket, event: int) -> None:
    watch = select.poll()
    watch.register(connection, event)
    watch.poll()


class Flags:
    """Takes the present flags of descriptors as those that each call will find."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        self._descriptors = descriptors
        self._kept = self._read()

    def restore(self) -> str:
        """Put them back. Returns why this process cannot serve another call, or nothing."""
        try:
            if (now := self._read()) != self._kept:
                for descriptor, kept, changed in zip(self._descriptors, self._kept, now, strict=True):
                    if kept != changed:
                        fcntl.fcntl(descriptor, fcntl.F_SETFL, kept[0])
                        fcntl.fcntl(descriptor, fcntl.F_SETFD, kept[1])
        except OSError as error:
            return f"a descriptor to its worker cannot be used ({error})"
        return ""

    def _read(self) -> list[tuple[int, int]]:
        return [
            (fcntl.fcntl(each, fcntl.F_GETFL), fcntl.fcntl(each, fcntl.F_GETFD)) for each in self._descriptors
        ]


class FrameReader:
    """Collects one frame after another from a socket, blocking or not.

    Attributes:
        number: of the call the last frame belongs to.
    """

    def __init__(self, limit: int) -> None:
        """Take frames of up to `limit` bytes."""
        self.number = 0
        self._buffer = bytearray(HEADER)
        self._limit = limit
        self._reset()

    def receive(self, connection: socket.socket) -> bytearray | None:
        """Read once; return the frame when it is complete, else None.

        Raises:
            BlockingIOError: a non-blocking socket has nothing to read.
            EOFError: the other side has closed.
            ValueError: what arrives is not a frame.
        """
        with memoryview(self._buffer) as whole, whole[self._filled :] as rest:
            count = connection.recv_into(rest)
        if not count:
            raise EOFError
        self._filled += count
        if self._filled < len(self._buffer):
            return None
        if not self._has_header:
            self._begin_body(int.from_bytes(self._buffer[:_LENGTH], "little"))
            return None
        frame = self._buffer
        self._reset()
        return frame

    def _begin_body(self, size: int) -> None:
        if not 0 < size <= self._limit:
            raise ValueError(f"a frame of {size} bytes was announced; allowed are 1 to {self._limit}")
        self._has_header = True
        self.number = int.from_bytes(self._buffer[_LENGTH:HEADER], "little")
        self._buffer = bytearray(size)
        self._filled = 0

    def _reset(self) -> None:
        self._has_header = False
        self._buffer = bytearray(HEADER)
        self._filled = 0

"""Calls that a child is given before their turn, so that neither side waits for the other between two short ones.

They go over a socket of their own, whose receiving end both sides hold. Each message is received whole, by one of the two:
a call that the supervisor takes back has not been begun and never will be, and one that it cannot take back has been begun.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from worker.runner.frames import number_of, pack
from worker.runner.kernel import LINUX
from worker.runner.messages import Call

DEPTH: Final = 8
"""So many calls wait in a child at most. With 16 it and its supervisor work in turn instead of side by side."""
_LARGEST: Final = 8 * 1024
"""Most bytes of a call. All that waits fits into the buffer of the socket, or it could not be sent at once."""


class CallsAhead:
    """The calls that one child was given before their turn. Threads may share it.

    Attributes:
        theirs: the end from which the child receives them.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET if LINUX else socket.SOCK_DGRAM
        )
        self._lock = threading.Lock()
        self._given: dict[int, tuple[int, Call]] = {}
        self._turn: tuple[int, Call] | None = None

    def __len__(self) -> int:
        """Count the calls whose turn has not come, and that nobody has taken back."""
        return len(self._given)

    def __contains__(self, call: Call) -> bool:
        return id(call) in self._given

    def close(self) -> None:
        """Close both ends. What was given is lost: its turn will come in another child."""
        with self._lock:
            self._given, self._turn = {}, None
            self._ours.close()
            self.theirs.close()

    def give(self, calls: Iterable[Call]) -> None:
        """Give calls in the order of their turns, but for those given before, as far as there is room.

        Without Linux there is none: only there a child can tell whether its output has been read.
        """
        with self._lock:
            for call in calls:
                if call not in self:
                    number = secrets.randbits(64)
                    if not self._send(call, number):
                        return
                    self._given[id(call)] = number, call

    def begin(self, call: Call) -> int | None:
        """Note that the turn of a call has come. Returns its number, None when it was not given before."""
        with self._lock:
            self._turn = self._given.pop(id(call), None)
            return self._turn[0] if self._turn is not None else None

    def take_back(self) -> None:
        """Take back what the child has not begun, but for the call whose turn it is."""
        with self._lock:
            taken, turn = self._received(), self._turn
            if turn is not None and turn[0] in taken:
                self._send(turn[1], turn[0])

    def take_back_all(self) -> bool:
        """Take back what the child has not begun. Tells whether the call whose turn it is was among that."""
        with self._lock:
            taken, turn = self._received(), self._turn
            return turn is not None and turn[0] in taken

    def _send(self, call: Call, number: int) -> bool:
        frame = pack(call, number)
        try:
            return (
                LINUX and len(frame) <= _LARGEST and self._ours.send(frame, socket.MSG_DONTWAIT) == len(frame)
            )
        except OSError:  # no room; or the child has gone, or its end was closed
            return False

    def _received(self) -> set[int]:
        """Receive in the child's place; return the numbers of what came, which is given no longer."""
        numbers = set()
        with suppress(OSError):  # closed with its child
            while (frame := receive_call(self.theirs)) is not None:
                numbers.add(number_of(frame))
        self._given = {key: one for key, one in self._given.items() if one[0] not in numbers}
        return numbers


def receive_call(theirs: socket.socket) -> bytes | None:
    """Receive the frame of a call that was given before its turn; None when there is none.

    Raises:
        OSError: somebody has closed the descriptor.
    """
    try:
        return theirs.recv(_LARGEST, socket.MSG_DONTWAIT) or None
    except BlockingIOError:
        return None

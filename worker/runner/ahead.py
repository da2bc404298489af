"""Calls that a child is given before their turn, so that neither side waits for the other between two short ones.

They go over a socket of their own, whose receiving end both sides hold. Each message is received whole, by one of the two:
a call that the supervisor takes back has not been begun and never will be. While it takes back, the child may receive one
from the middle: each message says which call it follows, and the child begins none but that which follows the one before.
So what is behind a call that was taken back is taken back with it, and what the supervisor cannot take back has been begun.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from itertools import dropwhile
from typing import Final, NamedTuple

from worker.runner.frames import number_of, pack
from worker.runner.kernel import LINUX
from worker.runner.messages import Call

DEPTH: Final = 8
"""So many calls wait in a child at most. With 16 it and its supervisor work in turn instead of side by side."""
_LARGEST: Final = 8 * 1024
"""Most bytes of a call. All that waits fits into the buffer of the socket, or it could not be sent at once."""
_NUMBER: Final = 8
"""Bytes of a number. A frame ends with that of the call it follows."""


class _Given(NamedTuple):
    """A call that was given, its number, and that of the call it follows."""

    number: int
    after: int
    call: Call


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
        self._given: dict[int, _Given] = {}
        self._turn: _Given | None = None
        self._last = 0  # number of the last one given and not taken back

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
                    one = _Given(secrets.randbits(8 * _NUMBER), self._last, call)
                    if not self._send(one):
                        return
                    self._given[id(call)] = one

    def begin(self, call: Call) -> int | None:
        """Note that the turn of a call has come. Returns its number, None when it was not given before."""
        with self._lock:
            self._turn = self._given.pop(id(call), None)
            return self._turn.number if self._turn is not None else None

    def take_back(self) -> None:
        """Take back what the child has not begun, but for the call whose turn it is."""
        with self._lock:
            if self._taken_with_turn() and self._turn is not None:
                self._send(self._turn)

    def take_back_all(self) -> bool:
        """Take back what the child has not begun. Tells whether the call whose turn it is was among that."""
        with self._lock:
            return self._taken_with_turn()

    def _send(self, one: _Given) -> bool:
        frame = pack(one.call, one.number)
        frame += one.after.to_bytes(_NUMBER, "little")
        try:
            sent = (
                LINUX and len(frame) <= _LARGEST and self._ours.send(frame, socket.MSG_DONTWAIT) == len(frame)
            )
        except OSError:  # no room; or the child has gone, or its end was closed
            return False
        if sent:
            self._last = one.number
        return sent

    def _taken_with_turn(self) -> bool:
        """Receive in the child's place: what comes, and all behind it, is given no longer."""
        numbers = []
        with suppress(OSError):  # closed with its child
            while (frame := _received(self.theirs)) is not None:
                numbers.append(number_of(frame))
        order = [one for one in (self._turn, *self._given.values()) if one is not None]
        taken = list(dropwhile(lambda one: one.number != numbers[0], order)) if numbers else []
        if taken:
            self._last = taken[0].after
        self._given = {key: one for key, one in self._given.items() if one not in taken}
        return self._turn in taken


class GivenCalls:
    """The calls given before their turn, as the child receives them.

    Attributes:
        theirs: the end it comes from.
    """

    def __init__(self, theirs: socket.socket) -> None:
        self.theirs = theirs
        self._last = 0

    def receive(self) -> bytes | None:
        """Receive the frame of the next call; None when there is none.

        Raises:
            OSError: somebody has closed the descriptor.
        """
        while (frame := _received(self.theirs)) is not None:
            if int.from_bytes(frame[-_NUMBER:], "little") == self._last:  # else one before it was taken back
                self._last = number_of(frame)
                return frame[:-_NUMBER]
        return None


def _received(theirs: socket.socket) -> bytes | None:
    try:
        return theirs.recv(_LARGEST, socket.MSG_DONTWAIT) or None
    except BlockingIOError:
        return None

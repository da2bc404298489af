"""The child's side of requests: a call hears the answers to its own."""

from __future__ import annotations

import socket

import msgspec

from reconciler.children.requests import Kept
from worker.runner.frames import FrameReader, pack
from worker.runner.messages import ToChild
from worker.runner.pipe import PipeWay


def test_an_answer_to_the_call_before_is_not_heard() -> None:
    """A call may end before it is answered; the next one has requests of the same numbers."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        way = PipeWay(theirs, FrameReader(1024), msgspec.msgpack.Decoder(ToChild), 2, 1024)
        ours.sendall(pack(Kept(1, b"old", 0), 1) + pack(Kept(1, b"new", 0), 2))
        assert [answer.value for answer in way.receive(20.0) if isinstance(answer, Kept)] == [b"new"]

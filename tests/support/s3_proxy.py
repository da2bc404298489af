"""Stands between a client and a real S3 server, and spoils chosen answers as networks and servers do."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self
from urllib.parse import urlsplit

Fault = Callable[[bytes], bytes | None] | bytes
"""From the server's answer to what the client gets (None: nothing, until the client gives up); or an answer
that is given without asking the server."""
HEAD_END = b"\r\n\r\n"


def lost(_: bytes) -> None:
    """Carry the request out, and lose its answer."""


def cut(answer: bytes) -> bytes:
    """Break the connection one byte before the end of the answer."""
    return answer[:-1]


def flipped(answer: bytes) -> bytes:
    """Change one bit of the body on its way."""
    return answer[:-1] + bytes([answer[-1] ^ 1])


def head_only(answer: bytes) -> bytes:
    """Break the connection after the headers."""
    return answer[: answer.index(HEAD_END) + len(HEAD_END)]


def says(status: str, body: str = "") -> bytes:
    """Make an answer of the proxy's own."""
    data = body.encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data


def refuses(status: str, code: str) -> bytes:
    """Return S3's way to say no."""
    return says(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>")


SLOW_DOWN = refuses("503 Slow Down", "SlowDown")
INTERNAL = refuses("500 Internal Server Error", "InternalError")
ERROR_IN_200 = says(
    "200 OK", "<?xml version='1.0'?><Error><Code>InternalError</Code><Message>no</Message></Error>"
)
"""As S3 answers when it has begun to say yes before it knew."""


class FaultyProxy:
    """Context manager: an HTTP proxy on a loopback port that changes only what it was told to spoil."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self._faults: dict[str, deque[Fault]] = {}
        self._chance: Callable[[str], Fault | None] = lambda _: None
        self.requests: list[str] = []
        self.spoiled: Counter[str] = Counter()
        """How many requests of each method had a fault."""
        self.begun = 0
        """How many bodies have begun to arrive."""
        self.pause = 0.0
        """Seconds between two reads of at most `block` bytes of a request: a slow line."""
        self.block = 65536
        self.away = False
        """Whether there is no server at all: connections are closed, also those that exist."""

    @property
    def endpoint(self) -> str:
        """The URL for the client."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def spoil(self, method: str, *faults: Fault) -> None:
        """Let these happen to the next requests of a method, one each."""
        self._faults.setdefault(method, deque()).extend(faults)

    def spoil_at_random(
        self, rng: random.Random, share: float, faults: Mapping[str, Sequence[Fault]]
    ) -> None:
        """Let this share of the requests of each method named have one of its faults; a share of 0 ends it."""

        def chance(method: str) -> Fault | None:
            chosen = faults.get(method)
            return rng.choice(chosen) if chosen and rng.random() < share else None

        self._chance = chance

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):  # the client gave up
            request = self._receive(client)
            method = request.split(b" ", 1)[0].decode()
            self.requests.append(method)
            faults = self._faults.get(method)
            fault = faults.popleft() if faults else self._chance(method)
            self.spoiled[method] += fault is not None
            answer = fault if isinstance(fault, bytes) else self._forward(request)
            if callable(fault):
                answer = fault(answer)
            if self.away:
                return
            if answer is None:
                client.recv(1)
            else:
                client.sendall(answer)

    def _receive(self, client: socket.socket) -> bytes:
        """Read one whole request, changed so that the server closes the connection after its answer."""
        data = b""
        while HEAD_END not in data:
            data += self._some(client)
        head, _, body = data.partition(HEAD_END)
        lines = head.split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if b"expect" in fields:
            client.sendall(b"HTTP/1.1 100 Continue" + HEAD_END)
        parts, missing = [body], int(fields.get(b"content-length", 0)) - len(body)
        self.begun += missing > 0
        while missing > 0:
            parts.append(self._some(client))
            missing -= len(parts[-1])
            threading.Event().wait(self.pause)  # slowness is what is being made here
        kept = [line for line in lines if not line.lower().startswith((b"expect:", b"connection:"))]
        return b"\r\n".join([*kept, b"Connection: close"]) + HEAD_END + b"".join(parts)

    def _some(self, client: socket.socket) -> bytes:
        data = client.recv(self.block)
        if not data or self.away:
            raise ConnectionError
        return data

    def _forward(self, request: bytes) -> bytes:
        with socket.create_connection(self._upstream) as server:
            server.sendall(request)
            return b"".join(iter(lambda: server.recv(65536), b""))

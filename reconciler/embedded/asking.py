"""One question to an embedded Valkey, which may have a password, and has no TLS.

The client of redis-py would take 11 MB of the process that started the servers, for as long as they run.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

_PORT = 6379


def ask(url: str, *words: str, timeout: float) -> bytes:
    """Send one command on a connection of its own; return the answer, a number or a text.

    Args:
        url: of the server.
        words: the command and its arguments.
        timeout: seconds to wait for each part of the answer.

    Raises:
        OSError: the server cannot be reached, does not answer in time, or refuses.
    """
    where = urlsplit(url)
    commands = [words]
    if database := where.path.strip("/"):
        commands.insert(0, ("SELECT", database))
    if where.password:
        user = (unquote(where.username),) if where.username else ()
        commands.insert(0, ("AUTH", *user, unquote(where.password)))
    with (
        socket.create_connection((where.hostname, where.port or _PORT), timeout) as line,
        line.makefile("rb") as answer,
    ):
        line.sendall(b"".join(map(_written, commands)))
        return [_read(answer) for _ in commands][-1]


def _written(words: Sequence[str]) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _read(answer: BinaryIO) -> bytes:
    first = answer.readline().rstrip()
    if first[:1] == b"$":
        return answer.read(int(first[1:]) + 2)[:-2]
    if first[:1] not in {b":", b"+"}:
        raise OSError(first[1:].decode(errors="replace") or "it has closed the connection")
    return first[1:]

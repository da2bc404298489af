"""One question to a server of records.

The client of redis-py would take 11 MB of the process that started the servers, for as long as they run; so it is left to
URLs that an embedded server does not have: with TLS, of a socket, with options.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, BinaryIO
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
    if where.scheme != "redis" or where.query:
        return _by_client(url, words, timeout)
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


def _by_client(url: str, words: Sequence[str], timeout: float) -> bytes:
    import redis  # noqa: PLC0415  # see above
    from redis.backoff import NoBackoff  # noqa: PLC0415  # as above
    from redis.retry import Retry  # noqa: PLC0415  # as above

    try:
        with redis.Redis.from_url(url, socket_timeout=timeout, retry=Retry(NoBackoff(), 0)) as client:
            answer: Any = client.execute_command(*words)
    except redis.RedisError as error:
        raise OSError(str(error)) from error
    return answer if isinstance(answer, bytes) else str(answer).encode()


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

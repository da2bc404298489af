"""One question to an embedded Valkey, which has neither password nor TLS.

The client of redis-py would take 11 MB of the process that started the servers, for as long as they run.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

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
    sent = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in map(str.encode, words))
    with (
        socket.create_connection((where.hostname, where.port or _PORT), timeout) as line,
        line.makefile("rb") as answer,
    ):
        line.sendall(sent)
        first = answer.readline().rstrip()
        if first[:1] == b"$":
            return answer.read(int(first[1:]))
        if first[:1] != b":":
            raise OSError(first[1:].decode(errors="replace") or "it has closed the connection")
        return first[1:]

"""Stands between processes and their Redis broker, and drops, repeats and re-orders the messages they send.

It speaks the server's protocol just enough to know an `LPUSH`, by which kombu publishes. A dropped one becomes an `LLEN` and
a repeated one an `LPUSH` of several values: the answers have the same form, so nobody notices, not even in a transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Sequence
from typing import Self


class MessageMeddler:
    """Context manager: a port of this machine that leads to a Redis or Valkey server.

    Args:
        port: where it leads to, on the loopback interface.
        rng: decides what happens to each message.

    Attributes:
        port: where processes find the broker.
        drop: share of the messages that are lost.
        only: queues of which messages are lost: those whose names end like this.
        copies: each other message arrives so many times, least and most.
        shuffle: share of the messages that overtake all that wait.
        seen, dropped, added, overtaking: what was sent, lost, repeated, moved; all since the start.
    """

    def __init__(self, port: int, rng: random.Random) -> None:
        self._target = port
        self._rng = rng
        self.drop = 0.0
        self.only = b""
        self.copies = (1, 1)
        self.shuffle = 0.0
        self.seen = self.dropped = self.added = self.overtaking = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = threading.Event()

    def use(self, rng: random.Random) -> None:
        """Let another source of randomness decide from now on."""
        self._rng = rng

    def behave(self) -> None:
        """Let all messages through as they are."""
        self.drop, self.only, self.copies, self.shuffle = 0.0, b"", (1, 1), 0.0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main()), name="message-meddler", daemon=True
        )
        self._thread.start()
        self._open.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)

    async def _main(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, sock=self._listener)
        self._open.set()
        await self._done.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, upwriter = await asyncio.open_connection("127.0.0.1", self._target)
        with contextlib.suppress(asyncio.CancelledError):  # asyncio would log it as an error of ours
            await asyncio.gather(self._forth(reader, upwriter), _back(upstream, writer))
        for one in (writer, upwriter):
            one.close()

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                writer.write(_packed(self._meddled(await _command(reader))))
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()

    def _meddled(self, words: Sequence[bytes]) -> Sequence[bytes]:
        if words[0].upper() != b"LPUSH":
            return words
        self.seen += 1
        name, key, message = words
        if key.endswith(self.only) and self._rng.random() < self.drop:
            self.dropped += 1
            return (b"LLEN", key)
        if self._rng.random() < self.shuffle:
            self.overtaking += 1
            name = b"RPUSH"
        copies = self._rng.randint(*self.copies)
        self.added += copies - 1
        return (name, key, *[message] * copies)


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    """Return one command: `*2`, then `$4`, `LLEN` and so on, each line ended by CR LF."""
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


def _packed(words: Sequence[bytes]) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        parts += [b"$%d\r\n" % len(word), word, b"\r\n"]
    return b"".join(parts)


async def _back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()

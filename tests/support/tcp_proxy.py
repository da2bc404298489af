"""Stands between processes and a server, and makes the line bad: slow, broken, silent, or led to another server."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)
"""Linger for 0 s: closing sends RST instead of FIN."""


class TcpProxy:
    """Context manager: a port of this machine that leads to another one. Its methods may be called from any thread.

    Args:
        port: where it leads to, on the loopback interface.
        rng: decides delays and resets.
        host: address it listens on.
    """

    def __init__(self, port: int, rng: random.Random | None = None, *, host: str = "127.0.0.1") -> None:
        self._target = port
        self._rng = rng or random.Random(0)  # a test must repeat
        self._delay: tuple[float, float] = (0.0, 0.0)
        self._resets = 0.0
        self._open = threading.Event()
        self._lines: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._abandoned: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self.passed = 0
        """Chunks that went through."""
        self.broken = 0
        """Connections that were reset, cut or abandoned."""

    def slow(self, least: float, most: float) -> None:
        """Delay each chunk, either way, by between so many seconds; 0, 0 ends it."""
        self._delay = (least, most)

    def reset(self, share: float) -> None:
        """Reset the connection at this share of the chunks; 0 ends it."""
        self._resets = share

    def silence(self) -> None:
        """Let nothing through and close nothing: half-open lines, until `speak`."""
        self._call(self._hush)

    def speak(self) -> None:
        """End the silence; what was held back goes through."""
        self._call(self._go.set)

    def abandon(self) -> None:
        """Make the lines that exist half-open for good: they stay open and carry nothing. New ones work."""
        self._call(self._abandon)

    def cut(self) -> None:
        """Break all connections at once."""
        self._call(self._cut)

    def lead_to(self, port: int) -> None:
        """New connections go to another server; those that exist are cut."""
        self._target = port
        self.cut()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main()), name="tcp-proxy", daemon=True
        )
        self._thread.start()
        self._open.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._done.set)
        self._thread.join(10)

    def _call(self, what: Callable[[], None]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (what(), done.set()))
        done.wait(10)

    async def _main(self) -> None:
        self._loop, self._done, self._go = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._go.set()
        server = await asyncio.start_server(self._serve, sock=self._listener)
        self._open.set()
        await self._done.wait()
        server.close()
        self._go.set()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            self._cut()
            await asyncio.wait(others, timeout=1)

    def _hush(self) -> None:
        self._go.clear()

    def _abandon(self) -> None:
        self.broken += len(self._lines - self._abandoned)
        self._abandoned |= self._lines

    def _cut(self) -> None:
        for line in list(self._lines):
            self._break(line)

    def _break(self, line: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        if line in self._lines:
            self._lines.discard(line)
            self.broken += 1
            for writer in line:
                sock = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, upwriter = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        line = (writer, upwriter)
        self._lines.add(line)
        await asyncio.gather(self._pump(reader, upwriter, line), self._pump(upstream, writer, line))
        self._lines.discard(line)
        self._abandoned.discard(line)
        for one in line:
            one.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        line: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while data := await reader.read(_CHUNK):
                await self._go.wait()
                if line in self._abandoned:
                    continue
                least, most = self._delay
                if most:
                    await asyncio.sleep(self._rng.uniform(least, most))
                if self._resets and self._rng.random() < self._resets:
                    self._break(line)
                    return
                writer.write(data)
                await writer.drain()
                self.passed += 1
        with contextlib.suppress(OSError, RuntimeError):
            if writer.can_write_eof():
                writer.write_eof()

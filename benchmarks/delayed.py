"""`python -m benchmarks distant`: no-op functions with an S3 server that is 30 ms away.

`python -m benchmarks.delayed PORT SECONDS` is the line: it prints the port it listens on, and passes on each piece of a
request so many seconds later, however many are on their way. Answers come back at once.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.embedded.ports import LOOPBACK

SECONDS = 0.03
_PIECE = 1 << 16


@contextmanager
def delayed(port: int, seconds: float = SECONDS) -> Iterator[str]:
    """Run the line in a process of its own; give the endpoint that leads through it."""
    command = [sys.executable, "-m", "benchmarks.delayed", str(port), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as line:
        try:
            assert line.stdout is not None
            yield f"http://{LOOPBACK}:{int(line.stdout.readline())}"
        finally:
            line.kill()


async def _serve(port: int, seconds: float) -> None:
    async def connected(near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        far, to_far = await asyncio.open_connection(LOOPBACK, port)
        await asyncio.gather(_pass_on(near, to_far, seconds), _pass_on(far, to_near, 0.0))

    server = await asyncio.start_server(connected, LOOPBACK, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: float) -> None:
    """Pass on what comes, later; what comes meanwhile does not wait for it."""
    loop = asyncio.get_running_loop()
    while piece := await source.read(_PIECE):
        if seconds:
            loop.call_later(seconds, target.write, piece)
        else:
            target.write(piece)
    loop.call_later(seconds, target.close)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))

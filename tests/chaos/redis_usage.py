"""Memory of a Redis server: what it keeps, apart from what comes and goes."""

from __future__ import annotations

from typing import Any, NamedTuple

import redis


class Usage(NamedTuple):
    """What a server holds, in bytes.

    Attributes:
        kept: without what ends by itself (connections, what is to be written to its file, notes of slow
            commands) and without compiled scripts, of which there are only so many.
        used: all of it, as INFO says.
    """

    kept: int
    used: int

    @classmethod
    def of(cls, client: redis.Redis) -> Usage:
        """Take the numbers of this moment."""
        client.memory_purge()
        # INFO counts a line's buffers late, by up to a second, and so may take more away than is there
        before: Any = client.info("memory")
        client.slowlog_reset()
        pipe = client.pipeline(transaction=True)
        info, lines = pipe.info("memory").client_list().execute()
        passing = sum(int(line["tot-mem"]) for line in lines) + info["mem_aof_buffer"]
        return cls(info["used_memory"] - passing - info["used_memory_scripts"], before["used_memory"])

    def __str__(self) -> str:
        return f"{self.kept / 1024:.0f} ({self.used / 1024:.0f})"

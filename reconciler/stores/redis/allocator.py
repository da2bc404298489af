"""Check the memory allocator of a Redis server: with that of the C library, CPU per action grows with the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from reconciler.address import read_redis
from reconciler.stores.redis.store import RedisStore

_OTHERS = ("jemalloc", "mimalloc", "tcmalloc")
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def allocator_note(store: RedisStore) -> str:
    """Say what the allocator of the server costs; nothing when it is a good one, or unknown."""
    try:
        info: dict[str, Any] = store.client.info("default")
    except RedisError:
        return ""
    name = str(info.get("mem_allocator", ""))
    if name != "libc" or _preloaded(store.url, info.get("process_id")):
        return ""
    return (
        "note: its allocator is that of the C library (mem_allocator libc), so its CPU per action grows with what it holds: "
        "take a server with jemalloc, as that of docker-compose.yml, or give it mimalloc by LD_PRELOAD"
    )


def _preloaded(url: str, process: object) -> bool:
    """Tell whether a server on this machine was started with another allocator, which the server itself does not know."""
    address = read_redis(url)
    if not (address.path or {host for host, _ in address.hosts} <= _HERE):
        return False
    try:
        maps = Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return False
    return any(name in maps for name in _OTHERS)

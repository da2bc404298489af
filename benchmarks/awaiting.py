"""What a process needs that awaits many runs in one event loop: threads, and connections to Redis."""

from __future__ import annotations

import asyncio
import threading
import time

import msgspec
import psutil

from benchmarks.shapes import LEAF
from reconciler.client import Client
from reconciler.stores.redis.store import RedisStore

_LENGTH = 10
"""Seconds each of them lasts."""
_LOOK = 0.1


def measure(client: Client, n: int) -> dict[str, object]:
    """Await n sleeps, each a run of its own, and tell the most threads and connections there were meanwhile."""
    store = client.store
    assert isinstance(store, RedisStore)
    leaf = msgspec.structs.replace(LEAF, inputs=b'{"duration":%d}' % _LENGTH)
    runs = [client.submit(leaf) for _ in range(n)]
    began = time.perf_counter()
    threads, connections, listening = asyncio.run(_awaited(store, [run.aio.wait(600) for run in runs]))
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "threads": threads,
        "connections": connections,
        "of_them_for_notifications": listening,
    }


def _connections(store: RedisStore) -> tuple[int, int]:
    """Count the connections of this process to the server, and those of them that listen."""
    mine = {one.laddr.port for one in psutil.Process().net_connections("tcp") if one.status == "ESTABLISHED"}
    found = [one for one in store.client.client_list() if int(one["addr"].rpartition(":")[2]) in mine]
    return len(found), sum(int(one["sub"]) + int(one["psub"]) > 0 for one in found)


async def _awaited(store: RedisStore, waits: list[object]) -> tuple[int, int, int]:
    tasks = [asyncio.ensure_future(one) for one in waits]  # type: ignore[arg-type]  # coroutines
    threads, most = 0, (0, 0)
    while not all(task.done() for task in tasks):
        threads = max(threads, threading.active_count())
        most = max(most, await asyncio.to_thread(_connections, store))
        await asyncio.sleep(_LOOK)
    for task in tasks:
        assert task.result().phase.is_terminal()
    return threads, *most

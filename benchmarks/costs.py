"""`python -m benchmarks costs`: what one action costs, part by part (docs/performance.md).

CPU of each kind of process, round trips, scripts and commands of the record server, messages, objects in S3, bytes of a
finished record. Counts are exact but for those of an idle stack; CPU swings with the machine: compare parts within one run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil

from benchmarks import shapes
from reconciler.client import Client
from reconciler.embedded.stack import Stack

SHAPES = ("fanout", "chain", "functions")
"""Of many at a time, of one after the other, of functions."""
_CHAIN = 10
"""A chain has one node for so many actions of the others: each takes as much longer."""
_KINDS = {
    "worker.runner": "functions' process",
    "attempts": "attempts worker",
    "steps": "steps worker",
    "beat": "beat",
    "valkey": "Valkey",
    "redis-server": "Redis",
    "weed": "SeaweedFS",
}


def of_shape(stack: Stack, shape: str, n: int) -> dict[str, object]:
    """Run a shape once to warm up and once more to be measured; costs by action."""
    client = Client.from_settings()
    run: Callable[[Client, int], int] = shapes.SHAPES[shape]
    n = max(20, n // _CHAIN) if shape == "chain" else n
    run(client, max(20, n // 4))
    before, cpu = _counts(client), _cpu(stack)
    run(client, n)
    spent, made = _cpu(stack), _counts(client)
    spent.subtract(cpu)
    made.subtract(before)
    line: dict[str, object] = {"n": n}
    line |= {f"CPU ms, {name}": round(1000 * s / n, 3) for name, s in spent.most_common() if s > 0}
    line["CPU ms, all"] = round(1000 * sum(spent.values()) / n, 3)
    scripts = made["evalsha"] + made["eval"]
    return line | {
        "round trips to Redis": round(made["reads"] / n, 3),
        "scripts": round(scripts / n, 3),
        "commands in scripts": round((made["commands"] - scripts) / n, 1),
        "messages": round(made["lpush"] / n, 3),
        "notifications": round(made["publish"] / n, 3),
        "objects in S3": round(made["objects"] / n, 3),
        "bytes of a record": round(made["bytes"] / n),
    }


def _cpu(stack: Stack) -> Counter[str]:
    """CPU seconds so far, by kind of process."""
    found: Counter[str] = Counter()
    for managed in (*stack.processes.values(), *stack.servers.processes.values()):
        root = psutil.Process(managed.pid)
        for process in (root, *root.children(recursive=True)):
            try:
                times, words = process.cpu_times(), " ".join(process.cmdline())
            except psutil.NoSuchProcess:
                continue
            kind = next((name for mark, name in _KINDS.items() if mark in words), "others")
            found[kind] += times.user + times.system  # type: ignore[assignment]  # seconds are no whole numbers
    own = psutil.Process(os.getpid()).cpu_times()
    found["client"] += own.user + own.system  # type: ignore[assignment]  # as above
    return found


def _counts(client: Client) -> Counter[str]:
    """How often each command was called so far, and all together; what was read from sockets, and what is kept."""
    store: Any = client.store
    stats = store.client.info("commandstats")
    found = Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()})
    found["commands"] = found.total()
    found["reads"] = store.client.info("stats")["total_reads_processed"]
    found["bytes"] = store.client.info("memory")["used_memory"]
    found["objects"] = _objects(client)
    return found


def _objects(client: Client) -> int:
    """Count the objects of the bucket."""
    blobs: Any = client.blobs
    count, after = 0, ""
    while page := blobs.page(after):
        count, after = count + len(page), page[-1].key
    return count

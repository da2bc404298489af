"""`python -m benchmarks costs`: what one action costs, part by part (docs/performance.md).

CPU of each kind of process, commands and scripts of the record server, objects in S3, bytes of a finished record. Counts are
exact; CPU swings with the machine, so compare parts within one run.
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
    run(client, max(20, n // 4))
    cpu, commands, used = _cpu(stack), _commands(client), _memory(client)
    run(client, n)
    spent = _cpu(stack)
    spent.subtract(cpu)
    made = _commands(client)
    made.subtract(commands)
    line: dict[str, object] = {
        f"CPU ms, {name}": round(1000 * s / n, 3) for name, s in spent.most_common() if s > 0
    }
    line["CPU ms, all"] = round(1000 * sum(spent.values()) / n, 3)
    line["scripts"] = round((made["evalsha"] + made["eval"]) / n, 3)
    line["messages"] = round(made["lpush"] / n, 3)
    line["notifications"] = round(made["publish"] / n, 3)
    line["commands in scripts"] = round((sum(made.values()) - made["evalsha"] - made["eval"]) / n, 1)
    line["bytes of a record"] = round((_memory(client) - used) / n)
    return line


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


def _commands(client: Client) -> Counter[str]:
    """How often each command was called so far."""
    store: Any = client.store
    stats = store.client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()})


def _memory(client: Client) -> int:
    store: Any = client.store
    return int(store.client.info("memory")["used_memory"])

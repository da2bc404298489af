"""Very many actions pass through and are forgotten: Redis is as it was."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import history_tasks
import pytest

from benchmarks.shapes import LEAF
from reconciler.api.phase import ActionPhase
from reconciler.client import Client
from reconciler.client.channel import Channel
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore
from reconciler.sweeps.collect import collect

LONG = bool(os.environ.get("CHAOS_LONG"))
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
ACTIONS = 200_000 if LONG else 10_000
WAVE = 5_000
FUNCTIONS = 20
"""Calls of each function in each wave."""
PATIENCE = 120.0
SLACK = 0.10
ONE_PER_SHARD = ("events", "queues", "audit")
"""Keys that are there for good once their shard was used, and do not grow."""
TEMPORARY = re.compile(r":res$|:worker:|:confirm$|:armed$|:pending$")
"""Keys with a life of their own that a moment may hold or not: they end by themselves."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that forgets soon what has ended."""
    env = {
        "RECONCILER_RETENTION": "1s",
        "RECONCILER_EVENTS_RETENTION": "1s",
        "RECONCILER_CACHE_RETENTION": "3s",
        "RECONCILER_QUOTAS": "gpu=1",
        "RECONCILER_QUOTA_LEASE": "3s",
    }
    given: dict[str, Any] = {"imports": ["history_tasks"], "cwd": Path(__file__).parent, "env": env}
    with Stack(tmp_path / "data", **given) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.servers.env().items():
            patch.setenv(name, value)
        yield running


class History:
    """Makes actions, follows them, and has them forgotten."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = Client.from_settings(settings)
        assert isinstance(self.client.store, RedisStore)
        self.store = self.client.store
        self.redis = self.store.client
        history_tasks.env.client = self.client
        self.live = Channel(settings).reader("history", "live", idle=timedelta(milliseconds=500))
        self.read = 0
        self.finished = 0

    def wave(self, count: int) -> None:
        """So many actions, some of which are cached, wait for units, or are read by a consumer that dies."""
        functions = [
            call.map(range(FUNCTIONS))
            for call in (history_tasks.known, history_tasks.known_once, history_tasks.heavy)
        ]
        run = self.client.submit_many([LEAF] * count)
        for one in (run, *functions):
            one.wait(PATIENCE)
            assert set(one.counts.phases) - {p for p, n in one.counts.phases.items() if not n} == {
                ActionPhase.SUCCEEDED
            }
            self.finished += one.counts.ended
        dead = Channel(self.settings).reader("history", "dead")
        self.read += len(dead.read(limit=5))
        dead.close()
        self.forget()

    def forget(self) -> None:
        """One pass of the collector, and of the consumer that reads everything."""
        while entries := self.live.read(limit=1000):
            self.read += self.live.ack(entries)
        collect(self.store, self.settings, self.client.blobs)

    def drain(self) -> None:
        """Until everything is forgotten, read, and expired that has a life of its own."""
        deadline, tick = time.monotonic() + PATIENCE, threading.Event()
        while self.passing():
            assert time.monotonic() < deadline, f"still there: {self.passing()}"
            self.forget()
            tick.wait(0.2)

    def passing(self) -> Counter[str]:
        """Keys, by kind, that belong to actions, events of the channel, entries of the catalog and leases."""
        found = self.kinds()
        events = sum(self.redis.xlen(self.store.keys.events(shard)) for shard in range(self.store.shards))
        open_ = sum(self.pending(shard) for shard in range(self.store.shards))
        left = Counter({kind: count for kind, count in found.items() if kind not in {"meta", "mq"}})
        return left + Counter({"events in the channel": events, "unread events": open_})

    def pending(self, shard: int) -> int:
        """Events of a shard that a consumer has and never acknowledged."""
        key = self.store.keys.events(shard)
        groups: Any = self.redis.xinfo_groups(key) if self.redis.exists(key) else []
        return sum(group["pending"] for group in groups)

    def kinds(self) -> Counter[str]:
        """How many keys there are of each kind that could grow, without those that come and go by themselves."""
        names = [key.decode() for key in self.redis.scan_iter(count=1000)]
        kinds = Counter(
            re.sub(r"^cr:(\{[^}]*\}:)?", "", name).partition(":")[0]
            for name in names
            if not TEMPORARY.search(name)
        )
        assert all(kinds.pop(kind, 0) <= self.store.shards for kind in ONE_PER_SHARD)
        return kinds

    def memory(self) -> int:
        """Bytes in use, of which the allocator has given back what it could."""
        self.redis.memory_purge()
        info: Any = self.redis.info("memory")
        return int(info["used_memory"]) - int(info["mem_clients_normal"]) - int(info["mem_aof_buffer"])


def test_redis_is_as_it_was(stack: Stack) -> None:
    """After very many finished actions memory is within a tenth of where it began, and no key is left over."""
    history = History(Settings.from_env(stack.env()))
    fresh = history.memory()
    history.wave(100)
    history.drain()
    began, keys = history.memory(), history.kinds()
    at = time.monotonic()
    most = began
    while history.finished < ACTIONS:
        history.wave(WAVE)
        most = max(most, history.memory())
    history.drain()
    seconds = time.monotonic() - at
    ended = history.memory()
    temporary = [key for key in history.redis.scan_iter(count=1000) if TEMPORARY.search(key.decode())]
    assert [key for key in temporary if history.redis.ttl(key) == -1] == [], "it would stay for ever"
    print(
        f"{history.finished} actions finished and forgotten in {seconds:.0f} s, {history.read} events read: "
        f"{fresh / 1024:.0f} KiB fresh, {began / 1024:.0f} KiB at the start, {most / 1024:.0f} KiB at most between waves, "
        f"{ended / 1024:.0f} KiB at the end ({ended / began - 1:+.1%}); keys {keys.total()} then and "
        f"{history.kinds().total()} now, {len(temporary)} more end by themselves"
    )
    assert history.kinds() == keys
    assert ended <= (1 + SLACK) * began

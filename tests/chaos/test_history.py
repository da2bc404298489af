"""Very many actions pass through and are forgotten: Redis is as it was."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import history_tasks
import pytest
import redis
from redis_usage import Usage

from benchmarks.shapes import LEAF
from reconciler.api.phase import ActionPhase
from reconciler.client import Client
from reconciler.client.channel import Channel
from reconciler.embedded.servers import EmbeddedServers
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
TEMPORARY = re.compile(
    r":res$|:worker:|:confirm$|:armed$|:pending$|:hears$|:idle$|:swept:|\}:functions$|\}:published"
)
"""Keys with a life of their own that a moment may hold or not: they end by themselves."""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[EmbeddedServers]:
    """Servers that nobody has used."""
    with EmbeddedServers(tmp_path / "servers") as running:
        yield running


@contextmanager
def workers(servers: EmbeddedServers, folder: Path) -> Iterator[Settings]:
    """Provide workers that forget soon what has ended, each of them ready; yields the settings they have."""
    env = {
        "RECONCILER_RETENTION": "1s",
        "RECONCILER_ARCHIVE": "0",
        "RECONCILER_EVENTS_RETENTION": "1s",
        "RECONCILER_CACHE_RETENTION": "3s",
        "RECONCILER_QUOTAS": "gpu=1",
        "RECONCILER_QUOTA_LEASE": "3s",
    }
    given: dict[str, Any] = {"imports": ["history_tasks"], "cwd": Path(__file__).parent, "env": env}
    with Stack(folder, servers=servers, **given) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in servers.env().items():
            patch.setenv(name, value)
        yield Settings.from_env(running.env())


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
        """Run one pass of the collector, and of the consumer that reads everything."""
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
        """Return keys, by kind, that belong to actions, events of the channel, entries of the catalog and leases."""
        found = self.kinds()
        events = sum(self.redis.xlen(self.store.keys.events(shard)) for shard in range(self.store.shards))
        open_ = sum(self.pending(shard) for shard in range(self.store.shards))
        left = Counter({kind: count for kind, count in found.items() if kind not in {"meta", "mq"}})
        return left + Counter({"events in the channel": events, "unread events": open_})

    def pending(self, shard: int) -> int:
        """Return events of a shard that a consumer has and never acknowledged."""
        key = self.store.keys.events(shard)
        groups: Any = self.redis.xinfo_groups(key) if self.redis.exists(key) else []
        return sum(group["pending"] for group in groups)

    def kinds(self) -> Counter[str]:
        """Count how many keys there are of each kind that could grow, without those that come and go by themselves."""
        names = [key.decode() for key in self.redis.scan_iter(count=1000)]
        kinds = Counter(
            re.sub(r"^cr:(\{[^}]*\}:)?", "", name).partition(":")[0]
            for name in names
            if not TEMPORARY.search(name)
        )
        assert all(kinds.pop(kind, 0) <= self.store.shards for kind in ONE_PER_SHARD)
        return kinds

    def eternal(self) -> list[bytes]:
        """Return keys that should end by themselves, and do not."""
        temporary = [key for key in self.redis.scan_iter(count=1000) if TEMPORARY.search(key.decode())]
        return [key for key in temporary if self.redis.ttl(key) == -1]


def test_redis_is_as_it_was(servers: EmbeddedServers, tmp_path: Path) -> None:
    """After very many finished actions memory is within a tenth of where it began, and no key is left over."""
    with redis.Redis.from_url(servers.redis_url) as client:
        unused = Usage.of(client)
        with workers(servers, tmp_path / "data") as settings:
            idle = Usage.of(client)
            history = History(settings)
            history.wave(100)
            history.drain()
            began, keys, at = Usage.of(client), history.kinds(), time.monotonic()
            while history.finished < ACTIONS:
                history.wave(WAVE)
            seconds = time.monotonic() - at
            history.drain()
            ended = Usage.of(client)
            print(
                f"{history.finished} actions finished and forgotten in {seconds:.0f} s, {history.read} events read; "
                f"KiB kept (used): {unused} by a server nobody used, {idle} once workers wait, "
                f"{began} after 100 actions, {ended} at the end: {ended.kept / unused.kept - 1:+.1%}, "
                f"{ended.kept / idle.kept - 1:+.1%} and {ended.kept / began.kept - 1:+.1%}"
            )
            assert history.kinds() == keys
            assert history.eternal() == [], "it would stay for ever"
            for start in (unused, idle, began):
                assert ended.kept <= (1 + SLACK) * start.kept

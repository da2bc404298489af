"""Redis is full: it may refuse, and may lose nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chaos_tasks
import pytest
import redis
from redis_load import RECOVERY, Load, check_all, last, pids, resumes, until

from reconciler.api.errors import StoreUnavailable
from reconciler.client import Client
from reconciler.embedded.stack import Stack
from reconciler.stores.redis.check import store_problems
from reconciler.stores.redis.store import RedisStore

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
REMEDY = (
    r"is full \(maxmemory reached\): nothing was written; raise maxmemory or shorten RECONCILER_RETENTION"
)
FULL_FOR = 8.0
"""Longer than the lease of an attempt: what runs meanwhile loses it."""


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """Left as it was found."""
    return shared_stack


def test_a_full_redis_refuses_and_recovers(stack: Stack, client: Client, tmp_path: Path) -> None:
    """Submissions are refused with the remedy, and once there is room, all that was accepted succeeds."""
    tally, before = tmp_path / "tally", pids(stack)
    load = Load(client, tally, seconds=3)
    for number in range(6):
        load.submit(f"before-{number}")
    until(lambda: len(traces(tally)) >= 2, "two calls run")
    with configured(stack, "maxmemory", "1", "0"):
        with pytest.raises(StoreUnavailable, match=REMEDY):
            client.submit(chaos_tasks.work.spec((0, 0.0, str(tally)), {}))
        last(FULL_FOR)
    took = resumes(client, tally)
    count = check_all(client, (one.run.id for one in load.accepted))
    extra = len(traces(tally)) - 1 - count
    print(
        f"Redis full for {FULL_FOR:g} s: {count} of {count} accepted succeeded, {extra} extra executions, "
        f"a new call behind them ended after {took:.1f} s"
    )
    assert pids(stack) == before, "a worker ended"
    assert took < 2 * RECOVERY


def test_an_evicting_redis_is_refused_at_start(stack: Stack, client: Client) -> None:
    """A server that may evict records is named with the remedy, and no worker starts on it."""
    store = RedisStore(client.settings)  # a client would refuse the server by itself
    steps = stack.processes["steps-1"]
    with configured(stack, "maxmemory-policy", "allkeys-lru", "noeviction"):
        [problem] = store_problems(store)
        assert "may evict records (maxmemory-policy allkeys-lru): set it to noeviction" in problem
        steps.kill()
        steps.start()
        until(lambda: not steps.alive, "the worker refuses to start")
        assert steps.returncode == 78
        assert "set it to noeviction" in steps.log.read_text()
    stack.start_workers()


@contextmanager
def configured(stack: Stack, name: str, value: str, before: str) -> Iterator[None]:
    """Provide a server setting, for a while."""
    with redis.Redis.from_url(stack.servers.redis_url) as server:
        server.config_set(name, value)
        try:
            yield
        finally:
            server.config_set(name, before)


def traces(tally: Path) -> list[str]:
    """Return the executions so far."""
    return tally.read_text().split() if tally.exists() else []

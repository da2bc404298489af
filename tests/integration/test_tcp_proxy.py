"""The bad line of the chaos tests does what it says: else they would prove nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tcp_proxy import TcpProxy
from valkey_pair import ValkeyPair

from reconciler.api.errors import StoreUnavailable
from reconciler.broker.conf import build_app
from reconciler.broker.messenger import CeleryMessenger
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore

pytestmark = pytest.mark.servers


@pytest.fixture
def client(line: TcpProxy) -> Iterator[redis.Redis]:
    """A client at its other end that tries nothing twice."""
    with redis.Redis(port=line.port, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as one:
        yield one


def test_a_good_line_passes_everything(line: TcpProxy, client: redis.Redis) -> None:
    """A large value comes back unchanged."""
    client.set("large", b"x" * 1_000_000)
    assert client.get("large") == b"x" * 1_000_000
    assert line.passed > 2


def test_a_slow_line_takes_its_time(line: TcpProxy, client: redis.Redis) -> None:
    """Each way is delayed by at least what was asked for."""
    client.ping()
    line.slow(0.05, 0.06)
    began = time.monotonic()
    client.ping()
    assert time.monotonic() - began >= 0.1


def test_a_broken_line_is_reset(line: TcpProxy, client: redis.Redis) -> None:
    """A connection is reset at its next chunk, and a new one works once the fault is over."""
    client.ping()
    line.reset(1.0)
    with pytest.raises(redis.ConnectionError):
        client.ping()
    line.reset(0.0)
    assert client.ping()
    assert line.broken == 1


def test_a_silent_line_answers_late(line: TcpProxy, client: redis.Redis) -> None:
    """Nothing comes through while it is silent, and nothing is closed."""
    client.ping()
    line.silence()
    with pytest.raises(redis.TimeoutError):
        client.ping()
    line.speak()
    assert client.ping()


def test_an_abandoned_line_stays_silent(line: TcpProxy, client: redis.Redis) -> None:
    """The connection that existed carries nothing any more and is not closed; the next one works."""
    client.ping()
    line.abandon()
    with pytest.raises(redis.TimeoutError):
        client.ping()
    assert client.ping()
    assert line.broken == 1


def test_one_half_open_line_tells_of_the_others(line: TcpProxy) -> None:
    """After a first call that timed out, neither records nor messages wait for the other idle connections."""
    limit = timedelta(seconds=4)
    settings = Settings(
        redis_url=f"redis://127.0.0.1:{line.port}/0", socket_timeout=limit, connect_timeout=limit
    )
    store, messenger = RedisStore(settings), CeleryMessenger(build_app(settings), settings)
    with ThreadPoolExecutor(4) as threads:  # four connections each
        together = threading.Barrier(4)

        def both(_: int) -> None:
            with messenger._producer() as producer:
                together.wait()
                with producer.channel.conn_or_acquire() as connection:
                    assert connection.ping()
                store.client.execute_command("BLPOP", "nothing", 0.2)  # type: ignore[no-untyped-call]  # redis-py has no types here
                together.wait()

        list(threads.map(both, range(4)))
    line.abandon()
    with pytest.raises(StoreUnavailable, match="did not answer"):
        store.now()
    began = time.monotonic()
    for _ in range(4):
        store.now()
        messenger.wake(0)
    assert time.monotonic() - began < limit.total_seconds()
    messenger.close()
    store.close()


def test_a_line_can_lead_elsewhere(line: TcpProxy, client: redis.Redis, pair: ValkeyPair) -> None:
    """After a failover the same address reaches the other server, also for a client that was connected."""
    assert client.info("server")["tcp_port"] == pair.primary.port  # type: ignore[index]  # redis-py says it may be awaited
    client.set_retry(Retry(NoBackoff(), 1))  # it may send before it has seen that its connection was cut
    line.lead_to(pair.replica.port)
    assert client.info("server")["tcp_port"] == pair.replica.port  # type: ignore[index]  # as above

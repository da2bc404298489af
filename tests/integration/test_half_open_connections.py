"""Half-open connections to Redis are found by a question before a command is lost on them."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from datetime import timedelta

import msgspec
import pytest
import redis
from kombu import Consumer, Message, Producer, Queue
from tcp_proxy import TcpProxy

from reconciler import connections
from reconciler.broker.conf import build_app
from reconciler.broker.messenger import CeleryMessenger
from reconciler.settings import Settings
from reconciler.stores.redis.connect import connect
from reconciler.stores.redis.store import RedisStore

pytestmark = pytest.mark.servers
LIMIT = timedelta(seconds=20)
ENVELOPE = [[], {}, {}]


@pytest.fixture
def settings(line: TcpProxy) -> Settings:
    """Time limits far above what any of this may take."""
    return Settings(redis_url=f"redis://127.0.0.1:{line.port}/0", socket_timeout=LIMIT, connect_timeout=LIMIT)


@pytest.fixture
def rested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line counts as one that has rested."""
    monkeypatch.setattr(connections, "_TRUSTED_FOR", 0.0)


@pytest.mark.usefixtures("rested")
def test_a_rested_line_that_is_half_open_loses_no_call(
    line: TcpProxy, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records and messages go over new lines after one question, without an error and without a time limit."""
    answered: list[bool] = []
    plain = connections.answers
    monkeypatch.setattr(connections, "answers", lambda one: (answered.append(plain(one)), answered[-1])[1])
    store, messenger = RedisStore(settings), CeleryMessenger(build_app(settings), settings)
    with closing(store), closing(messenger):
        store.now()
        messenger.wake(0)
        answered.clear()
        line.abandon()
        began = time.monotonic()
        store.now()
        messenger.wake(0)
        assert connections._ANSWERS_WITHIN <= time.monotonic() - began < LIMIT.total_seconds()
        assert answered == [False], "the line of messages was closed with that of records"
        assert line.broken >= 2


def test_a_line_in_use_is_not_asked(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls in a row cost no questions."""
    monkeypatch.setattr(connections, "_TRUSTED_FOR", 60.0)
    with connect(settings) as client:
        before = pings(client)
        for _ in range(20):
            client.time()  # type: ignore[no-untyped-call]  # redis-py has no types here
        assert pings(client) == before


@pytest.mark.usefixtures("rested")
def test_a_transaction_keeps_its_line(line: TcpProxy, settings: Settings) -> None:
    """What was watched is guarded to the end: a line that dies between WATCH and EXEC is not quietly replaced."""
    short = msgspec.structs.replace(settings, socket_timeout=timedelta(seconds=1))
    with connect(short) as client, connect(settings) as other:
        client.delete("watched")
        with client.pipeline() as pipe:
            pipe.watch("watched")  # type: ignore[no-untyped-call]  # redis-py has no types here
            line.abandon()
            other.set("watched", "changed")
            pipe.multi()  # type: ignore[no-untyped-call]  # as above
            pipe.set("watched", "mine")
            with pytest.raises((redis.TimeoutError, redis.WatchError)):
                pipe.execute()
        assert other.get("watched") == b"changed"


@pytest.mark.usefixtures("rested")
def test_a_slow_server_gets_its_time(
    line: TcpProxy, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that answers the question too late is replaced, and the call still has its whole time limit."""
    monkeypatch.setattr(connections, "_ANSWERS_WITHIN", 0.05)
    with connect(settings) as client:
        client.set("count", 0)
        line.slow(0.1, 0.11)
        assert client.incr("count") == 1
        line.slow(0, 0)
        assert client.get("count") == b"1"


@pytest.mark.usefixtures("rested")
def test_a_consumer_whose_slot_was_taken_asks_before_it_takes_more(
    line: TcpProxy, settings: Settings
) -> None:
    """A consumer that comes back to a half-open line has its next message after questions, not after a time limit."""
    taken: list[Message] = []
    with build_app(settings).connection() as connection, connection.channel() as channel:
        queue = Queue("lines", channel=channel)
        producer = Producer(channel, routing_key="lines")
        with Consumer(channel, [queue], on_message=taken.append, prefetch_count=1):
            for body in ("first", "second"):
                producer.publish(ENVELOPE, headers={"task": body, "id": body})
            connection.drain_events(timeout=5)
            line.abandon()
            began = time.monotonic()
            taken[0].ack()
            while len(taken) < 2:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=0.1)
                assert time.monotonic() - began < 5, "kombu alone finds out after 6 s"
            taken[1].ack()


def pings(client: redis.Redis) -> int:
    """Count how many the server has answered."""
    stats = client.info("commandstats")
    return int(stats.get("cmdstat_ping", {}).get("calls", 0))  # type: ignore[union-attr]  # redis-py says it may be awaited

"""A client refuses the servers that a worker refuses, when it first uses them, and looks once in a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_servers import Server, keeping

from reconciler.api.action import ActionSpec
from reconciler.api.errors import InvalidSettings, StoreUnavailable
from reconciler.client import Client
from reconciler.embedded.ports import LOOPBACK, pick_ports
from reconciler.settings import Settings
from reconciler.stores.redis.check import store_problems
from reconciler.stores.redis.store import RedisStore

pytestmark = pytest.mark.servers

SPEC = ActionSpec(task_type="core-sleep", inputs=b"{}")


def client_of(server: Server, **more: object) -> Client:
    """Return a client as programs make it."""
    url = f"redis://{LOOPBACK}:{server.port}/0"
    return Client.from_settings(Settings(redis_url=url, s3_endpoint="http://127.0.0.1:1", **more))  # type: ignore[arg-type]  # fields of Settings


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["cluster-enabled yes", "cluster-port {free}", "appendonly yes"], "is a cluster node"),
        (["appendonly no"], "set appendonly yes"),
        (["appendonly yes", "maxmemory-policy allkeys-lru"], "set it to noeviction"),
    ],
)
def test_what_a_worker_refuses_a_client_refuses(tmp_path: Path, lines: list[str], why: str) -> None:
    """Nothing is stored there, by no verb; the reason is the worker's."""
    [free] = pick_ports(1)  # else the port of the bus is 10,000 above the server's, which others may have
    with Server(tmp_path, [line.format(free=free) for line in lines]) as server:
        client = client_of(server)
        for _ in range(2):
            with pytest.raises(InvalidSettings, match=why):
                client.submit(SPEC)
            with pytest.raises(InvalidSettings, match=why):
                client.runs()
        assert server.client.dbsize() == 0
        worker = RedisStore(client.settings)
        assert why in store_problems(worker)[0]
        worker.close()
        client.store.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One that can be used."""
    with Server(tmp_path, keeping(tmp_path)) as running:
        yield running


def commands(server: Server, name: str) -> int:
    """Count how often a command was called."""
    stats: dict[str, dict[str, int]] = server.client.info("commandstats")  # type: ignore[assignment]  # redis-py says it may be awaited
    return stats.get(f"cmdstat_{name}", {}).get("calls", 0)


def test_it_looks_once_in_a_process(server: Server) -> None:
    """A second client, and further calls, cost no further question."""
    first, second = client_of(server), client_of(server)
    asked = commands(server, "info")
    for client in (first, second, first):
        client.submit_many([SPEC])
    assert commands(server, "info") == asked + 2  # the client's, and that of `commands` itself
    for client in (first, second):
        client.store.close()


def test_other_shards_are_refused(server: Server) -> None:
    """What a client with another number of shards stored, no worker would find."""
    worker = RedisStore(Settings(redis_url=f"redis://{LOOPBACK}:{server.port}/0", shards=8))
    assert store_problems(worker) == []
    worker.close()
    client = client_of(server, shards=4)
    with pytest.raises(InvalidSettings, match="shards = 8, not 4"):
        client.submit(SPEC)
    client.store.close()


def test_a_server_that_is_away_is_no_wrong_setting(server: Server) -> None:
    """It is unavailable, and looked at when it is back."""
    client = client_of(server)
    server.process.kill()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        client.submit(SPEC)
    client.store.close()


def test_a_user_who_may_not_ask_is_let_be(server: Server) -> None:
    """Without the right to INFO a client works; the workers look."""
    server.client.execute_command("ACL", "SETUSER", "default", "-info")  # type: ignore[no-untyped-call]  # redis-py has no types here
    client = client_of(server)
    assert client.submit_many([SPEC]).id
    client.store.close()

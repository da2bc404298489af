"""Each server that docs/operations.md names, started for real: records and messages by the same URL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from queue import Empty
from urllib.parse import quote

import pytest
from redis_servers import (
    NO_DEBIAN,
    Certificate,
    Server,
    User,
    await_primary,
    debian_redis,
    keeping,
    watching,
)

from reconciler.api.action import ActionSpec
from reconciler.api.errors import BrokerUnavailable, StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.broker.conf import build_app
from reconciler.broker.messenger import CeleryMessenger
from reconciler.client.client import Client
from reconciler.embedded.ports import LOOPBACK
from reconciler.settings import Settings
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.redis.check import store_problems
from reconciler.stores.redis.store import RedisStore
from reconciler.wiring import Engine

pytestmark = pytest.mark.servers

USER = User()
OF_SENTINEL = User("asker", "q;u:e/s@t%2F#?&+n")
TEMPLATE = b'{"type": "core-sleep", "interface": {"inputs": {"duration": "duration"}}}'
SLEEP = ActionSpec(task_type="core-sleep", task_template=TEMPLATE, inputs=b'{"duration": 0}')
needs_tls = pytest.mark.skipif(debian_redis() is None, reason=NO_DEBIAN)


def settings_for(url: str, **more: object) -> Settings:
    """Return settings of an installation that waits 3 s at most."""
    waits = {"socket_timeout": timedelta(seconds=3), "connect_timeout": timedelta(seconds=3)}
    return Settings.from_env({}, redis_url=url, shards=1, **waits, **more)


def took_one(settings: Settings) -> bool:
    """Whether a consumer that reads as workers do is given a message of the steps queue."""
    app = build_app(settings)
    try:
        with (
            app.connection_for_read() as connection,
            connection.SimpleQueue(app.amqp.queues["steps"]) as queue,
        ):
            queue.get(timeout=10).ack()
            return True
    except Empty:
        return False
    finally:
        app.close()


def both_uses(url: str) -> None:
    """Store an action, get its wake-up, end it by a step, and see the waiter woken."""
    settings = settings_for(url)
    store = RedisStore(settings)
    messenger = CeleryMessenger(build_app(settings), settings)
    blobs = MemoryBlobs("bucket")
    engine = Engine(settings, store=store, blobs=blobs, messenger=messenger)
    try:
        assert store_problems(store) == []
        run = Client(store, blobs, messenger, settings).submit(SLEEP)
        assert took_one(settings)
        engine.stepper.step(0)
        assert run.wait(10).phase is ActionPhase.SUCCEEDED
    finally:
        engine.stepper.close()
        messenger.close()
        store.close()


def credentials(user: User) -> str:
    """User and password as a URL wants them."""
    return f"{user.name}:{quote(user.password, safe='')}"


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server with a user whose password needs every escape, on a port and on a socket."""
    binary = debian_redis() if request.param == "redis" else None
    if request.param == "redis" and binary is None:
        pytest.skip(NO_DEBIAN)
    with Server(tmp_path, keeping(tmp_path), binary=binary, user=USER) as running:
        yield running


def test_redis(server: Server) -> None:
    """`redis://user:password@host:port/db`."""
    both_uses(f"redis://{credentials(USER)}@{LOOPBACK}:{server.port}/3")
    with server.client as client:
        client.execute_command("SELECT", 3)  # type: ignore[no-untyped-call]  # redis-py has no types here
    assert server.client.info("keyspace").keys() == {"db3"}  # type: ignore[union-attr]  # redis-py says it may be awaited


@pytest.mark.parametrize(
    "form",
    [
        "unix://{path}?db=3&username={user}&password={password}",
        "unix://{user}:{password}@{path}?db=3",
        "redis+socket://{path}?virtual_host=3&username={user}&password={password}",
        "redis+socket://{user}:{password}@{path}?db=3",
    ],
)
def test_socket(server: Server, tmp_path: Path, form: str) -> None:
    """A Unix socket, in redis-py's spelling and in Celery's."""
    both_uses(form.format(path=tmp_path / "socket", user=USER.name, password=quote(USER.password, safe="")))
    assert server.client.info("keyspace").keys() == {"db3"}  # type: ignore[union-attr]  # as above


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """For TLS."""
    return Certificate(tmp_path)


@needs_tls
def test_tls(tmp_path: Path, certificate: Certificate) -> None:
    """`rediss://`, on a server with no other port; a certificate nobody vouches for is refused for both uses."""
    with Server(
        tmp_path, keeping(tmp_path), binary=debian_redis(), certificate=certificate, user=USER
    ) as server:
        url = f"rediss://{credentials(USER)}@localhost:{server.port}/0"
        both_uses(f"{url}?ssl_ca_certs={certificate.file}")
        refused_by_both(url, "certificate verify failed")


def refused_by_both(url: str, why: str) -> None:
    """Neither records nor messages go there."""
    settings = settings_for(url)
    with pytest.raises(StoreUnavailable, match=why):
        RedisStore(settings).now()
    with pytest.raises(BrokerUnavailable, match=why):
        CeleryMessenger(build_app(settings), settings).wake(0)


Sentinels = Callable[..., tuple[Server, Server]]


@pytest.fixture
def behind_sentinel(tmp_path: Path) -> Iterator[Sentinels]:
    """Starts a primary with `USER`, and a Sentinel that calls it `main`."""
    with ExitStack() as stack:

        def start(certificate: Certificate | None = None, user: User | None = None) -> tuple[Server, Server]:
            binary = debian_redis() if certificate else None
            primary = stack.enter_context(
                Server(tmp_path, keeping(tmp_path), binary=binary, certificate=certificate, user=USER)
            )
            sentinel = stack.enter_context(
                Server(
                    tmp_path / "sentinel", watching(primary.port, USER),
                    binary=binary, certificate=certificate, user=user, sentinel=True,
                )
            )  # fmt: skip
            await_primary(sentinel, "main", primary.port)
            return primary, sentinel

        yield start


def test_sentinel(behind_sentinel: Sentinels) -> None:
    """The servers' user and password, and a first Sentinel that is away."""
    primary, sentinel = behind_sentinel()
    dead = f"sentinel://{LOOPBACK}:1"
    both_uses(f"{dead};sentinel://{credentials(USER)}@{LOOPBACK}:{sentinel.port}/3?master_name=main")
    assert primary.client.info("keyspace").keys() == {"db3"}  # type: ignore[union-attr]  # as above


def test_sentinel_with_a_password_of_its_own(behind_sentinel: Sentinels) -> None:
    """The Sentinels have a user and a password that are not those of the servers."""
    _, sentinel = behind_sentinel(user=OF_SENTINEL)
    asker = f"sentinel_username={OF_SENTINEL.name}&sentinel_password={quote(OF_SENTINEL.password, safe='')}"
    url = f"sentinel://{credentials(USER)}@{LOOPBACK}:{sentinel.port}/0?master_name=main"
    both_uses(f"{url}&{asker}")
    refused_by_both(url, "cannot be reached|takes no messages")


@needs_tls
def test_sentinel_with_tls_and_users(behind_sentinel: Sentinels, certificate: Certificate) -> None:
    """Servers and Sentinels both with TLS, which has no plain port beside it, and each with users of its own."""
    _, sentinel = behind_sentinel(certificate, OF_SENTINEL)
    asker = f"sentinel_username={OF_SENTINEL.name}&sentinel_password={quote(OF_SENTINEL.password, safe='')}"
    url = f"sentinel://{credentials(USER)}@{LOOPBACK}:{sentinel.port}/0?master_name=main&sentinel_ssl=true&{asker}"
    both_uses(f"{url}&ssl_ca_certs={certificate.file}")
    refused_by_both(url, "cannot be reached|takes no messages")

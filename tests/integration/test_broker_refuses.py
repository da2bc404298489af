"""A broker that answers with an error is outlived like one that does not answer: the worker takes messages again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from broker_servers import PREFIX, Valkey, Worker, until

from reconciler.broker.conf import build_app
from reconciler.broker.messenger import CeleryMessenger
from reconciler.settings import Settings

pytestmark = pytest.mark.servers

LIMIT = timedelta(seconds=1)
Command = Callable[[Valkey, Path], Any]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    """A server for one test, whose folder may be changed."""
    running = Valkey(tmp_path, "--enable-protected-configs", "yes")
    yield running
    running.close()


@pytest.fixture
def start(server: Valkey, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts a worker, which ends with the test."""
    started: list[Worker] = []

    def worker(**options: Any) -> Worker:
        given = {"pool": "threads", "queue": "steps", "role": "steps", **options}
        started.append(Worker(tmp_path, Settings(broker_url=server.url), **given))
        return started[-1]

    yield worker
    for one in started:
        one.close()


def send(server: Valkey, number: int) -> None:
    """Send a wake-up and a ticket."""
    settings = Settings(broker_url=server.url, socket_timeout=LIMIT, connect_timeout=LIMIT)
    messenger = CeleryMessenger(build_app(settings), settings)
    messenger.wake(number)
    messenger.ticket("attempts")
    messenger.close()


def cannot_save(server: Valkey, folder: Path) -> None:
    """Behave as on a full disk: the last snapshot failed, so nothing is written."""
    gone = folder / "gone"
    gone.mkdir()
    server.client.config_set("dir", str(gone))
    gone.rmdir()
    server.client.config_set("save", "1 1")
    server.client.bgsave()
    until(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "err")  # type: ignore[index]  # redis-py says it may be awaited


def wrong_kind(server: Valkey, _: Path) -> None:
    """Overwrite the keys of both queues."""
    for queue in ("steps", "attempts"):
        server.client.set(f"{PREFIX}{queue}", "not a list")


def right_kind(server: Valkey, _: Path) -> None:
    """Remove what was written over them."""
    server.client.delete(*(f"{PREFIX}{queue}" for queue in ("steps", "attempts")))


def rights(*rules: str) -> Command:
    """Change the rights of the user."""
    return lambda server, _: server.client.execute_command("ACL", "SETUSER", "default", *rules)


REFUSALS: dict[str, tuple[Command, Command]] = {
    "demoted": (
        lambda server, _: server.client.replicaof("127.0.0.1", "1"),
        lambda server, _: server.client.replicaof("NO", "ONE"),
    ),
    "too few replicas": (
        lambda server, _: server.client.config_set("min-replicas-to-write", 1),
        lambda server, _: server.client.config_set("min-replicas-to-write", 0),
    ),
    "right revoked": (rights("-brpop"), rights("+brpop")),
    "cannot save": (
        cannot_save,
        lambda server, _: server.client.config_set("stop-writes-on-bgsave-error", "no"),
    ),
    "wrong kind of key": (wrong_kind, right_kind),
}


@pytest.mark.parametrize(
    ("name", "queue", "pool"),
    [*((name, "steps", "threads") for name in REFUSALS), ("demoted", "attempts", "prefork")],
)
def test_an_error_reply_ends_no_worker(
    server: Valkey, start: Callable[..., Worker], tmp_path: Path, name: str, queue: str, pool: str
) -> None:
    """While the broker refuses, the worker lives and says so; afterwards it takes what is sent."""
    refuse, relent = REFUSALS[name]
    worker = start(pool=pool, queue=queue, role=queue)
    refuse(server, tmp_path)
    until(lambda: "the broker refuses" in worker.log or worker.process.poll() is not None)
    relent(server, tmp_path)
    send(server, 3)
    worker.notes_say("shard 3" if queue == "steps" else "ticket of attempts")
    assert worker.process.poll() is None


def test_a_worker_may_start_while_it_is_refused(server: Valkey, start: Callable[..., Worker]) -> None:
    """It waits for the broker instead of ending, without asking in a hurry."""
    server.client.config_set("min-replicas-to-write", 1)
    worker = start(await_ready=False)
    until(lambda: worker.log.count("ResponseError") >= 2 or worker.process.poll() is not None)
    server.client.config_set("min-replicas-to-write", 0)
    worker.notes_say("ready")
    send(server, 3)
    worker.notes_say("shard 3")
    assert worker.log.count("Connected to") <= 10


def test_a_worker_that_may_not_listen_works_on(server: Valkey, start: Callable[..., Worker]) -> None:
    """Without the right to channels it hears no other worker and no command, but takes its messages."""
    worker = start()
    rights("resetchannels")(server, worker.folder)
    until(lambda: "the broker refuses to give news" in worker.log or worker.process.poll() is not None)
    send(server, 3)
    worker.notes_say("shard 3")
    rights("allchannels")(server, worker.folder)
    until(lambda: "does give news of other workers again" in worker.log)

"""RabbitMQ gives a message that ended its worker to the next one: none may end any."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from amqp import Connection, Message
from broker_servers import until
from rabbit import NO_RABBIT, Rabbit, installed

from reconciler.broker.messages import RECONCILE, RUN_ATTEMPTS
from reconciler.embedded.stack import Stack

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not installed(), reason=NO_RABBIT),
]
TASKS = {"steps": RECONCILE, "attempts": RUN_ATTEMPTS}
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
GOOD = b'[["none"], {}, {}]'


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    """One node for all tests of this file."""
    with Rabbit(tmp_path_factory.mktemp("rabbit")) as running:
        yield running


@pytest.fixture(scope="module")
def stack(rabbit: Rabbit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A steps worker with threads and an attempts worker with processes, which take their messages there."""
    env = {"RECONCILER_BROKER_URL": rabbit.url}
    folder = tmp_path_factory.mktemp("stack")
    with Stack(folder, beat=False, attempts_concurrency=1, env=env) as running:
        yield running


@pytest.fixture
def channel(rabbit: Rabbit) -> Iterator[Any]:
    """A line to the broker that checks nothing."""
    host = rabbit.url.rpartition("@")[2].rstrip("/")
    with Connection(host) as connection:
        yield connection.channel()


KINDS: dict[str, tuple[bytes, dict[str, object]]] = {
    "name that is a list": (GOOD, {"task": ["x"], "id": "1"}),
    "name that is a table": (GOOD, {"task": {"x": 1}, "id": "1"}),
    "name that is a number": (GOOD, {"task": 5, "id": "1"}),
    "unknown name": (GOOD, {"task": "none", "id": "1"}),
    "unknown name without an id": (GOOD, {"task": "none"}),
    "no headers": (GOOD, {}),
    "old protocol, name that is a list": (b'{"task": ["x"], "id": "1"}', {}),
    "old protocol, unknown name without an id": (b'{"task": "none"}', {}),
}


@pytest.mark.parametrize("queue", TASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_names_no_task_ends_no_worker(stack: Stack, channel: Any, kind: str, queue: str) -> None:
    """It is dropped, and the same worker takes the next message."""
    worker = stack.processes[f"{queue}-1"]
    pid = worker.pid
    body, headers = KINDS[kind]
    channel.basic_publish(Message(body, application_headers=headers, **JSON), routing_key=f"cr:{queue}")
    asked = f"none-{uuid.uuid4()}"
    headers = {"task": TASKS[queue], "id": asked}
    body = json.dumps([[asked], {}, {}]).encode()
    channel.basic_publish(Message(body, application_headers=headers, **JSON), routing_key=f"cr:{queue}")
    until(partial(said, worker, asked))
    assert worker.pid == pid
    assert worker.alive


def said(worker: Any, text: str) -> bool:
    """Whether a worker has refused the one who asked for this."""
    return text in worker.log.read_text()

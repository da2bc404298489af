"""What a message says beside its arguments does nothing: who writes to a queue gets a wake-up or a ticket, and no more."""

from __future__ import annotations

import base64
import bz2
import json
import re
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from broker_servers import until

from reconciler.broker.messages import RECONCILE, RUN_ATTEMPTS
from reconciler.embedded.stack import Stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]
TASKS = {"steps": (RECONCILE, [3]), "attempts": (RUN_ATTEMPTS, ["attempts"])}
CHAIN = [{"task": RECONCILE, "args": [1], "kwargs": {}, "options": {"queue": "leaked"}}]
SLOTS = 12
"""More messages of a kind than a worker has slots."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Real servers, a steps worker with threads and an attempts worker with processes."""
    with Stack(tmp_path_factory.mktemp("hostile"), beat=False, attempts_concurrency=1) as running:
        yield running


@pytest.fixture
def broker(stack: Stack) -> Iterator[redis.Redis]:
    """The server with the queues."""
    client = redis.Redis.from_url(stack.servers.redis_url)
    yield client
    client.close()


def message(
    queue: str, *, task: str = "", content: bytes = b"", embed: object = None, **headers: object
) -> str:
    """Return a message as kombu puts it into a list."""
    name, args = TASKS[queue]
    body = content or json.dumps([args, {}, {} if embed is None else embed]).encode()
    head = {"lang": "py", "task": task or name, "id": str(uuid.uuid4()), "argsrepr": ""} | headers
    where = {"exchange": "", "routing_key": queue}
    properties = {"delivery_info": where, "body_encoding": "base64", "delivery_tag": str(uuid.uuid4())}
    return json.dumps({
        "body": base64.b64encode(body).decode(), "content-encoding": "utf-8", "content-type": "application/json",
        "headers": head, "properties": properties,
    })  # fmt: skip


def peak(stack: Stack, queue: str) -> int:
    """Return the most memory the worker of a queue has held, in MiB."""
    status = Path(f"/proc/{stack.processes[f'{queue}-1'].pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) >> 10


KINDS: dict[str, dict[str, Any]] = {
    "embedded list": {"embed": [1]},
    "embedded chain": {"embed": {"chain": CHAIN}},
    "embedded callbacks": {"embed": {"callbacks": CHAIN, "errbacks": CHAIN, "chord": CHAIN[0]}},
    "time limit": {"timelimit": [0.0001, 0.0001]},
    "far start": {"eta": "9999-12-31T23:59:59+00:00"},
    "start before all time": {"eta": "0001-01-01T00:00:00-14:00"},
    "no start": {"eta": "garbage"},
    "no expiry": {"expires": "garbage"},
    "retries": {"retries": 10**18},
    "group": {"group": "g", "root_id": "\x1b[31m", "stamps": {"a": [1]}, "stamped_headers": ["a"]},
    "id that paints": {"id": "\x1b[31mred\n"},
    "name that paints": {"task": "\x1b[31mred\n"},
    "tasks of Celery": {"task": "celery.map", "content": json.dumps([[CHAIN[0], [[1]]], {}, {}]).encode()},
    "too few parts": {"content": b"[[], {}]"},
    "arguments of another type": {"content": b'["args", {}, {}]'},
    "named arguments of another type": {"content": b"[[1], [], {}]"},
}  # fmt: skip


@pytest.mark.parametrize("queue", TASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_beside_the_arguments_has_an_effect(
    stack: Stack, broker: redis.Redis, kind: str, queue: str
) -> None:
    """As many as there are slots leave the worker alive and at work, send nothing, and paint no log."""
    pids = {name: process.pid for name, process in stack.processes.items()}
    for _ in range(SLOTS):
        broker.lpush(f"cr:mq:{queue}", message(queue, **KINDS[kind]))
    until(lambda: not broker.llen(f"cr:mq:{queue}"))
    asked = f"none-{uuid.uuid4()}"
    broker.lpush(f"cr:mq:{queue}", message(queue, content=json.dumps([[asked], {}, {}]).encode()))
    until(partial(said, stack, queue, asked))
    assert not broker.exists("cr:mq:leaked")
    assert not broker.hlen("cr:mq::unacked")
    assert {name: process.pid for name, process in stack.processes.items() if process.alive} == pids
    assert "\x1b" not in log(stack, queue)


@pytest.mark.parametrize("queue", TASKS)
@pytest.mark.parametrize("kind", ["compressed", "large"])
def test_a_message_takes_no_memory(stack: Stack, broker: redis.Redis, kind: str, queue: str) -> None:
    """What is compressed, or larger than any of ours, is not unpacked: some hundred bytes cannot become gigabytes."""
    before = peak(stack, queue)
    if kind == "compressed":
        raw = message(queue, content=bz2.compress(b"0" * (400 << 20)), compression="application/x-bz2")
    else:
        raw = message(queue, content=json.dumps([["x" * (8 << 20)], {}, {}]).encode())
    lines = len(log(stack, queue))
    broker.lpush(f"cr:mq:{queue}", raw)
    until(lambda: "dropped" in log(stack, queue)[lines:])
    assert peak(stack, queue) < before + 60


def log(stack: Stack, queue: str) -> str:
    """What the worker of a queue has written."""
    return stack.processes[f"{queue}-1"].log.read_text()


def said(stack: Stack, queue: str, text: str) -> bool:
    """Whether a worker has refused the one who asked for this."""
    return text in log(stack, queue)

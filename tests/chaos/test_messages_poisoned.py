"""What no worker can read lies in its queue: it costs a line in the log, and no worker."""

from __future__ import annotations

import base64
import json
import pickle
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from harm_support import LONG, Site, running_site, until

from reconciler.broker.messages import RECONCILE, RUN_ATTEMPTS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
FUZZED = 20_000 if LONG else 400
BIG = (100 if LONG else 20) << 20
QUEUES = ("steps", "attempts")
JSON = "application/json"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One stack for all tests of this module."""
    with running_site(tmp_path_factory.mktemp("poisoned")) as running:
        yield running


@pytest.fixture
def broker(site: Site) -> Iterator[redis.Redis]:
    """The server with the queues."""
    client = redis.Redis.from_url(site.stack.servers.redis_url)
    yield client
    client.close()


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


def envelope(
    task: str, *args: object, body: bytes | None = None, kind: str = JSON, **headers: object
) -> dict[str, Any]:
    """Return a message as kombu puts it into a list."""
    content = json.dumps([args, {}, {}]).encode() if body is None else body
    head = {"lang": "py", "task": task, "id": "x", "retries": 0, "timelimit": [None, None], "argsrepr": ""}
    where = {"exchange": "", "routing_key": "steps"}
    return {
        "body": base64.b64encode(content).decode(),
        "content-encoding": "binary" if kind != JSON else "utf-8",
        "content-type": kind,
        "headers": head | headers,
        "properties": {"delivery_info": where, "body_encoding": "base64", "delivery_tag": "t"},
    }


def poisons(trap: Path) -> dict[str, bytes]:
    """Return kinds of what may lie in a queue."""
    good = json.dumps(envelope(RECONCILE, 3)).encode()
    shaped: dict[str, Any] = {
        "null": None,
        "a list": [1, 2],
        "a number": 7,
        "no properties": {"body": "e30="},
        "properties null": {"body": "e30=", "properties": None, "headers": None},
        "headers are a list": envelope(RECONCILE, 3) | {"headers": [1]},
        "body is no JSON": envelope(RECONCILE, body=b"{oops"),
        "body is a number": envelope(RECONCILE, body=b"7"),
        "unknown task": envelope("no.such.task"),
        "wrong types": envelope(RECONCILE, "abc", 5),
        "too many arguments": envelope(RECONCILE, 1, 2, 3, 4, 5),
        "no queue": envelope(RUN_ATTEMPTS, None),
        "two queues": envelope(RUN_ATTEMPTS, "attempts", "steps"),
        "another queue": envelope(RUN_ATTEMPTS, "nowhere"),
        "no arguments": envelope(RUN_ATTEMPTS),
        "time limit of one": envelope(RUN_ATTEMPTS, "attempts", timelimit=[1]),
        "old protocol": {"body": "e30=", "headers": {}}
        | {"properties": envelope(RECONCILE)["properties"], "content-type": JSON},
        "pickle": envelope(
            RECONCILE, body=pickle.dumps([(Trap(trap),), {}, {}]), kind="application/x-python-serialize"
        ),
        "yaml": envelope(RECONCILE, body=b"[[1], {}, {}]", kind="application/x-yaml"),
        "unknown compression": envelope(RECONCILE, 1, compression="zz"),
        "eta is no time": envelope(RECONCILE, 1, eta="tomorrow"),
        "expiry is no time": envelope(RECONCILE, 1, expires="never"),
        "large": envelope(RECONCILE, "x" * BIG),
    }
    return {
        "no JSON": b"{not json",
        "no text": b"\xff\xfe\x00",
        "nothing": b"",
        "truncated": good[: len(good) // 2],
        "deep": b"[" * 100_000,
        **{name: json.dumps(value).encode() for name, value in shaped.items()},
    }


def test_no_message_ends_a_worker_and_each_is_logged(site: Site, broker: redis.Redis, tmp_path: Path) -> None:
    """Each kind is taken from each queue, said in the log, and leaves no message behind; work goes on beside it."""
    trap, tally = tmp_path / "sprung", tmp_path / "tally"
    before = {name: site.stack.processes[f"{name}-1"].pid for name in QUEUES}
    run = site.map(range(40), 0.05, tally)
    taken = 0
    for kind, raw in poisons(trap).items():
        for queue in QUEUES:
            logged = len(site.log(f"{queue}-1"))
            broker.lpush(f"cr:mq:{queue}", raw)
            until(partial(says_more, site, queue, logged), what=f"a line about {kind!r}")
            taken += 1
    assert run.result(timeout=60) == list(range(40))
    site.check(run, 41)
    assert {name: site.stack.processes[f"{name}-1"].pid for name in QUEUES} == before
    assert all(site.stack.processes[f"{name}-1"].alive for name in QUEUES)
    assert not trap.exists(), "a pickle was read"
    print(f"poison messages: {taken}, worker deaths 0, lost 0 of 40")


def test_fuzzed_messages_end_no_worker(
    site: Site, broker: redis.Redis, rng: random.Random, tmp_path: Path
) -> None:
    """Real messages with random changes of bytes and of fields end no worker, and work goes on."""
    run = site.map(range(20), 0.05, tmp_path / "tally")
    for _ in range(FUZZED):
        queue = rng.choice(QUEUES)
        broker.lpush(f"cr:mq:{queue}", fuzzed(rng, queue))
    until(lambda: not any(broker.llen(f"cr:mq:{queue}") for queue in QUEUES), 120, what="the drained queues")
    assert run.result(timeout=60) == list(range(20))
    site.check(run, 21)
    assert all(site.stack.processes[f"{name}-1"].alive for name in QUEUES)
    assert not any("Unrecoverable" in site.log(f"{name}-1") for name in QUEUES)
    after = site.map(range(4), 0.0, tmp_path / "after")
    assert after.result(timeout=30) == list(range(4))
    print(f"fuzzed messages: {FUZZED}, worker deaths 0, lost 0 of 24")


def says_more(site: Site, queue: str, than: int) -> bool:
    """Whether the log of a worker has grown."""
    return len(site.log(f"{queue}-1")) > than


def fuzzed(rng: random.Random, queue: str) -> bytes:
    """Return a message of ours with one thing wrong."""
    message = envelope(RECONCILE, 3) if queue == "steps" else envelope(RUN_ATTEMPTS, "attempts")
    if rng.random() < 0.4:
        raw = bytearray(json.dumps(message).encode())
        for _ in range(rng.randint(1, 8)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        return bytes(raw)
    if rng.random() < 0.2:
        body = rng.choice([7, None, {}, {"task": RECONCILE, "id": 3}, [], [1, 2, 3], [[], 1, 2], [[], {}, 7]])
        message["body"] = base64.b64encode(json.dumps(body).encode()).decode()
        return json.dumps(message).encode()
    place = rng.choice([message, message["headers"], message["properties"]])
    key = rng.choice([*place, "eta", "group", "parent_id", "root_id", "shadow", "origin", "priority"])
    if rng.random() < 0.3:
        place.pop(key, None)
    else:
        place[key] = rng.choice([None, 7, -1, 1e300, "", "x" * 9999, [], [[]], {}, {"a": 1}, True])
    return json.dumps(message).encode()

"""The broker under real faults: outages, wrong credentials, frozen servers, forks, foreign messages."""

from __future__ import annotations

import base64
import json
import multiprocessing
import re
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from broker_servers import PASSWORD, PREFIX, Valkey, Worker, until

from reconciler.api.errors import BrokerUnavailable
from reconciler.broker.conf import build_app
from reconciler.broker.messenger import CeleryMessenger
from reconciler.settings import Settings

pytestmark = pytest.mark.servers

LIMIT = timedelta(seconds=1)


def settings_for(url: str) -> Settings:
    """Return settings that wait a second at most."""
    return Settings(broker_url=url, socket_timeout=LIMIT, connect_timeout=LIMIT)


def messenger_for(url: str) -> CeleryMessenger:
    """Return a messenger with an application of its own."""
    return CeleryMessenger(build_app(settings_for(url)), settings_for(url))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    """A server for one test."""
    running = Valkey(tmp_path)
    yield running
    running.close()


@pytest.fixture
def messenger(server: Valkey) -> Iterator[CeleryMessenger]:
    """A messenger to that server."""
    opened = messenger_for(server.url)
    yield opened
    opened.close()


@pytest.fixture
def start_worker(server: Valkey, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts a worker, which ends with the test."""
    started: list[Worker] = []

    def start(*, pool: str = "threads", queue: str = "steps", role: str = "steps") -> Worker:
        started.append(Worker(tmp_path, settings_for(server.url), pool=pool, queue=queue, role=role))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


def messages(server: Valkey, queue: str) -> list[dict[str, Any]]:
    """What lies in a queue, oldest first."""
    found = [json.loads(text) for text in reversed(server.client.lrange(PREFIX + queue, 0, -1))]
    return [{**m["headers"], "body": json.loads(base64.b64decode(m["body"]))} for m in found]


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_worker_survives_a_killed_broker(
    server: Valkey, messenger: CeleryMessenger, start_worker: Callable[..., Worker], pool: str
) -> None:
    """With acknowledgements, a broker killed under a running and a held message loses and repeats nothing."""
    worker = start_worker(pool=pool, role="emulated")
    worker.gate("long")
    build_app(settings_for(server.url)).send_task("test.blocked", ("long",))
    worker.notes_say("long begins")  # it has started, which takes long on a slow machine
    messenger.wake(7, countdown=12)  # held until long after the broker is killed
    # Until it knows of both. The server counts the second before its answer has reached the worker.
    until(lambda: len(re.findall(r"Task \S+ received", worker.log)) == 2)
    assert server.client.hlen(f"{PREFIX}:unacked") == 2

    server.kill()  # it starts again after the worker has tried to hand back what it holds
    until(lambda: "2 unacknowledged messages stay in ':unacked'" in worker.log)
    server.start()

    messenger.wake(1)
    worker.notes_say("shard 1")
    worker.open("long")
    until(lambda: server.client.hlen(f"{PREFIX}:unacked") == 1)  # acknowledged over a channel that is no more
    server.pass_visibility_timeout()
    worker.notes_say("shard 7")
    until(lambda: not server.client.hlen(f"{PREFIX}:unacked"))
    assert worker.notes.count("long begins") == 1
    assert worker.process.poll() is None


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_worker_of_wake_ups_survives_a_killed_broker(
    server: Valkey, messenger: CeleryMessenger, start_worker: Callable[..., Worker], pool: str
) -> None:
    """Without acknowledgements too, the worker goes on: it takes new wake-ups and ends what it had begun."""
    worker = start_worker(pool=pool)
    worker.gate("long")
    build_app(settings_for(server.url)).send_task("test.blocked", ("long",))
    messenger.wake(7, countdown=60)
    worker.notes_say("long begins")
    server.kill()
    until(lambda: "Connection to broker lost" in worker.log)
    server.start()
    messenger.wake(1)
    worker.notes_say("shard 1")
    worker.open("long")
    worker.notes_say("long ends")
    assert worker.process.poll() is None
    assert not server.client.exists(f"{PREFIX}:unacked"), "wake-ups cost no book-keeping on the server"


def test_task_that_ends_during_the_outage_does_not_end_the_worker(
    server: Valkey, messenger: CeleryMessenger, start_worker: Callable[..., Worker]
) -> None:
    """An acknowledgement that cannot be sent is logged; the worker goes on when the broker is back."""
    worker = start_worker()
    worker.gate("long")
    build_app(settings_for(server.url)).send_task("test.blocked", ("long",))
    worker.notes_say("long begins")
    server.kill()
    until(lambda: "Cannot connect" in worker.log)
    worker.open("long")
    worker.notes_say("long ends")
    server.start()
    messenger.wake(1)
    worker.notes_say("shard 1")


def test_no_queue_ends_a_worker(
    server: Valkey, messenger: CeleryMessenger, start_worker: Callable[..., Worker]
) -> None:
    """Names of keys of the transport, past every door: they are lists like all queues, and the worker goes on."""
    names = [
        "attempts_unacked",
        "attempts_unacked_index",
        "attempts_unacked_mutex",
        "unacked",
        "unacked_index",
        "meta",
        "due",
    ]
    for name in names:
        messenger.ticket(name)
    worker = start_worker(queue="attempts", role="attempts")
    messenger.ticket("attempts")
    worker.notes_say("ticket of attempts")
    assert {server.client.type(PREFIX + name) for name in names} == {b"list"}
    assert worker.process.poll() is None


def test_a_busy_worker_leaves_messages_to_others(
    server: Valkey, messenger: CeleryMessenger, start_worker: Callable[..., Worker]
) -> None:
    """A ticket behind an attempt that may run for days stays in the queue; none needs book-keeping on the server."""
    worker = start_worker(queue="attempts", role="attempts")
    app = build_app(settings_for(server.url))
    for name in ("one", "two"):
        worker.gate(name)
        app.send_task("test.blocked", (name,), queue="attempts")
        worker.notes_say(f"{name} begins")
    messenger.ticket("attempts")
    for _ in range(2):  # each answer is a turn of the worker's loop, in which it would have fetched more
        assert app.control.ping(timeout=5, limit=1)
    assert [m["body"][0] for m in messages(server, "attempts")] == [["attempts"]]
    worker.open("one")
    worker.notes_say("ticket of attempts")
    worker.open("two")
    assert not server.client.keys(f"{PREFIX}:*unacked*")
    app.close()


def test_worker_takes_json_only_and_shows_no_password(
    server: Valkey, messenger: CeleryMessenger, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """A pickled message is refused unread, the worker goes on, and no log or `inspect` shows the password."""
    worker = start_worker(pool="prefork")
    trap = tmp_path / "sprung"
    app = build_app(settings_for(server.url))
    with app.connection_for_write() as connection:
        app.amqp.Producer(connection).publish(
            [_Trap(trap)],
            routing_key="steps",
            serializer="pickle",
            headers={
                "task": "reconciler.reconcile",
                "id": "x",
                "lang": "py",
                "argsrepr": "",
                "kwargsrepr": "",
            },
        )
    messenger.wake(3)
    worker.notes_say("shard 3")
    until(lambda: not server.client.hlen(f"{PREFIX}:unacked"))
    assert not trap.exists()
    assert "ContentDisallowed" in worker.log
    inspector = app.control.inspect(timeout=5, limit=1)
    answers = [*inspector.conf().values(), *inspector.stats().values()]
    app.close()
    assert answers[0]["accept_content"] == ["json"]
    assert PASSWORD not in json.dumps(answers)
    assert PASSWORD not in worker.log


def test_what_is_no_message_ends_no_worker(
    server: Valkey, messenger: CeleryMessenger, start_worker: Callable[..., Worker]
) -> None:
    """No JSON, JSON of another form, a field of a wrong type: each is named in the log, and the next message is served."""
    worker = start_worker(pool="prefork")
    where = {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "steps"}}
    good = {"body": "W10=", "content-type": "application/json", "content-encoding": "utf-8"}
    bad = {
        **good,
        "headers": {"task": "reconciler.reconcile", "id": "x", "timelimit": [1]},
        "properties": where,
    }
    for message in (b"{no json", b"null", json.dumps(good).encode(), json.dumps(bad).encode()):
        server.client.lpush(f"{PREFIX}steps", message)
    messenger.wake(3)
    worker.notes_say("shard 3")
    until(lambda: worker.log.count("dropped ") == 4)
    assert "$.headers.timelimit" in worker.log
    assert not server.client.hlen(f"{PREFIX}:unacked")


class _Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("send", ["wake", "ticket"])
@pytest.mark.parametrize("fault", ["wrong password", "dead port", "frozen", "frozen when open"])
def test_broken_broker_is_told_in_time(server: Valkey, fault: str, send: str) -> None:
    """Whatever is wrong is told within twice the time limit, with the remedy and without the password."""
    messenger = messenger_for(server.url)
    if fault == "wrong password":
        messenger = messenger_for(f"redis://:{PASSWORD}x@127.0.0.1:{server.port}/0")
    if fault == "frozen when open":
        messenger.wake(1)
    if fault == "dead port":
        server.kill()
    if fault.startswith("frozen"):
        server.freeze()
    took = []
    for _ in range(3):  # a busy machine may be late for one of them
        begin = time.monotonic()
        with pytest.raises(BrokerUnavailable) as caught:
            messenger.wake(1) if send == "wake" else messenger.ticket("attempts")
        took.append(time.monotonic() - begin)
        if took[-1] < 2 * LIMIT.total_seconds():
            break
    assert min(took) < 2 * LIMIT.total_seconds()
    assert f"redis://:**@127.0.0.1:{server.port}/0" in str(caught.value)
    assert "correct RECONCILER_BROKER_URL" in str(caught.value)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    messenger.close()


def test_messenger_recovers_with_its_broker(server: Valkey, messenger: CeleryMessenger) -> None:
    """After an outage the same messenger sends again, and messages sent before are still there."""
    messenger.wake(1)
    server.kill()
    with pytest.raises(BrokerUnavailable):
        messenger.wake(2)
    server.start()
    messenger.wake(3)
    assert [m["body"][0] for m in messages(server, "steps")] == [[1], [3]]


def test_messages_are_what_the_protocol_says(server: Valkey, messenger: CeleryMessenger) -> None:
    """A wake-up carries shard, due time and ETA; a ticket its queue; both a text for people."""
    messenger.wake(4, countdown=3)
    messenger.ticket("attempts")
    (wake,) = messages(server, "steps")
    assert wake["body"][:2] == [[4], {}]
    assert (wake["task"], wake["argsrepr"], bool(wake["eta"])) == ("reconciler.reconcile", "shard 4", True)
    (ticket,) = messages(server, "attempts")
    assert ticket["body"][:2] == [["attempts"], {}]
    assert ticket["argsrepr"] == "queue attempts"
    assert (ticket["task"], ticket["ignore_result"]) == ("reconciler.run_attempts", True)


def test_all_keys_carry_the_prefix(server: Valkey, start_worker: Callable[..., Worker]) -> None:
    """A worker and its remote control write no key outside the installation's prefix."""
    start_worker()
    app = build_app(settings_for(server.url))
    assert app.control.ping(timeout=5, limit=1)
    app.close()
    keys = server.client.keys("*")
    assert keys
    assert [key for key in map(str, keys) if not key.startswith(f"b'{PREFIX}")] == []


def test_threads_share_a_messenger(server: Valkey, messenger: CeleryMessenger) -> None:
    """Eight threads that send at once lose nothing, over no more connections than threads need."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(messenger.wake, range(400)))
    assert sorted(m["body"][0][0] for m in messages(server, "steps")) == list(range(400))
    assert len(server.client.client_list()) <= 2 * 8 + 1


def test_forked_process_opens_its_own_connections(server: Valkey, messenger: CeleryMessenger) -> None:
    """A child made by fork sends over sockets of its own and leaves those of its parent working."""
    messenger.wake(1)
    before = {client["id"] for client in server.client.client_list()}

    def in_child() -> None:
        assert not messenger._mine()
        messenger.wake(2)

    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
    child.join(10)
    assert child.exitcode == 0
    messenger.wake(3)
    assert {client["id"] for client in server.client.client_list()} == before
    assert [m["body"][0] for m in messages(server, "steps")] == [[1], [2], [3]]
    assert server.client.info("stats")["total_connections_received"] > len(before)

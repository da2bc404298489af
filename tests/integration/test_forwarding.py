"""The results channel forwarded to a topic exchange on real servers: at least once, in order, whatever dies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from broker_servers import PASSWORD, Valkey, until
from cli_processes import environment, read_until, started
from forward_support import EXCHANGE, Installation, Service, settings_for

from reconciler.api.action import RunId
from reconciler.api.errors import BrokerUnavailable, InvalidSettings
from reconciler.broker.exchange import LARGEST, EventExchange, dedupe_key
from reconciler.core.documents import event_document
from reconciler.settings import Settings

pytestmark = [pytest.mark.rule("R59"), pytest.mark.servers]
Bind = Callable[..., Service]

KILLED = """
import sys, threading
from datetime import timedelta
from forward_support import Installation, settings_for
from reconciler.broker.exchange import EventExchange
from worker.forwarding import Forwarder, reader_of

installation = Installation(settings_for(sys.argv[1], sys.argv[2]))
reader = reader_of(installation.settings, "steps@killed", timedelta(seconds=60))

def ack(entries):
    print("published", len(entries), flush=True)
    threading.Event().wait()

reader.ack = ack
Forwarder(reader, EventExchange(installation.settings), installation.store).run()
"""
"""A forwarder that stops between its publishing and its acknowledging."""


@pytest.fixture
def store_server(tmp_path: Path) -> Iterator[Valkey]:
    """Where the records live."""
    folder = tmp_path / "records"
    folder.mkdir()
    running = Valkey(folder)
    yield running
    running.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Valkey]:
    """Another server, with the exchange."""
    folder = tmp_path / "broker"
    folder.mkdir()
    running = Valkey(folder)
    yield running
    running.close()


@pytest.fixture
def installation(store_server: Valkey, broker: Valkey) -> Iterator[Installation]:
    """An empty installation that forwards to the broker."""
    made = Installation(settings_for(store_server.url, broker.url))
    yield made
    made.close()


@pytest.fixture
def bind(broker: Valkey) -> Iterator[Bind]:
    """Binds services."""
    bound: list[Service] = []

    def service(pattern: str = "#", queue: str = "service") -> Service:
        bound.append(Service(broker.url, pattern, queue))
        return bound[-1]

    yield service
    for one in bound:
        one.close()


def test_every_event_arrives_in_order(installation: Installation, bind: Bind) -> None:
    """A queue bound to everything gets each event once, in the order of each action, as `events --json` shows it."""
    service = bind()
    wanted = installation.publish(20)
    installation.create("stored")
    installation.forward()
    until(service.has(wanted | {("p/d/stored/a0", 1)}))
    assert len(service.received) == len(wanted) + 1
    assert all(sequences in ([1, 2, 3], [1]) for sequences in service.sequences().values())
    keys = {key for key, action, _ in service.received if action == "p/d/r7/a0"}
    assert keys == {"p.d.r7.a0.queued", "p.d.r7.a0.running", "p.d.r7.a0.succeeded"}
    [entry] = installation.store.channel(installation.store.shard_of(RunId("p", "d", "stored")))[-1:]
    assert event_document(entry.event) in service.documents
    until(lambda: installation.open_events() == 0)


def test_a_binding_gets_its_part(installation: Installation, bind: Bind) -> None:
    """A queue gets what its pattern says, and a dot in a name makes no further word."""
    ended, project = bind("*.*.*.*.succeeded", "ended"), bind("p~2.d.#", "project")
    first, second = installation.publish(3), installation.publish(2, "p.2")
    installation.forward()
    until(ended.has({one for one in first | second if one[1] == 3}))
    until(project.has(second))
    assert len(ended.received) == 5
    assert len(project.received) == 6
    assert ("p~2.d.r0.a0.queued", "p.2/d/r0/a0", 1) in project.received


def test_killed_before_the_acknowledgement(installation: Installation, bind: Bind, tmp_path: Path) -> None:
    """A forwarder killed between publishing and acknowledging: its events come again, with the same keys."""
    service = bind()
    wanted = installation.publish(4)
    urls = (installation.settings.redis_url, installation.settings.events_exchange_url)
    env = environment()
    env["PYTHONPATH"] += f"{os.pathsep}{Path(__file__).parent}"
    with started((sys.executable, "-c", KILLED, *urls), tmp_path, env) as process:
        read_until(process, "published")
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    until(service.has(wanted))
    held = installation.open_events()
    assert len(service.keys) == held == len(wanted)
    more = installation.publish(2, start=100)
    installation.forward(idle=0.2)
    until(service.has(more))
    until(lambda: installation.open_events() == 0)
    service.take()
    assert len(service.received) == held * 2 + len(more)
    assert sorted(service.keys[:held] * 2) == sorted(key for key in service.keys if "r10" not in key)


def test_two_forwarders_share(installation: Installation, bind: Bind) -> None:
    """Forwarders side by side send each event once, and none is missing."""
    service = bind()
    installation.make_group()
    for name in ("steps@one", "steps@two"):
        installation.forward(name)
    wanted = installation.publish(40)
    until(service.has(wanted))
    until(lambda: installation.open_events() == 0)
    assert len(service.take()) == len(wanted)


def test_stopping_finishes_what_was_read(installation: Installation, bind: Bind) -> None:
    """A forwarder that is stopped leaves nothing open, and its successor goes on behind it, in order."""
    service = bind()
    wanted = installation.publish(30)
    first = installation.forward()
    until(lambda: len(service.take()) > 0)
    first.stop()
    first.join(20)
    assert not first.is_alive()
    assert installation.open_events() == 0
    installation.forward("steps@two")
    until(service.has(wanted))
    assert all(sequences == [1, 2, 3] for sequences in service.sequences().values())


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_broker_away_and_back(installation: Installation, broker: Valkey, bind: Bind, fault: str) -> None:
    """While the broker is gone or answers nothing, events wait; when it is back all of them come, in order."""
    service = bind()
    installation.forward()
    before = installation.publish(3)
    until(service.has(before))
    service.close()
    getattr(broker, fault)()
    after = installation.publish(10, start=50)
    until(lambda: installation.open_events() > 0)
    broker.kill()
    broker.start()
    back = Service(broker.url, "#")
    until(back.has(after), 60)
    until(lambda: installation.open_events() == 0)
    firsts = [list(dict.fromkeys(sequences)) for sequences in back.sequences().values()]
    assert all(sequences == sorted(sequences) for sequences in firsts)
    back.close()


def test_store_away_and_back(installation: Installation, store_server: Valkey, bind: Bind) -> None:
    """While the records cannot be reached a forwarder waits, and goes on where it was."""
    service = bind()
    installation.forward()
    until(service.has(installation.publish(3)))
    until(lambda: installation.open_events() == 0)
    store_server.kill()
    store_server.start()
    after = installation.publish(3, start=50)
    until(service.has(after), 60)
    assert len(service.received) == 18


def test_a_bad_event_keeps_nobody(installation: Installation, bind: Bind) -> None:
    """Entries that cannot be read or are too large are told and set aside; their neighbours of the same run arrive."""
    service, run = bind(), RunId("p", "d", "r")
    installation.add(installation.event("r", 1))
    installation.put(run, b'{"id": ["p", "d", "r", "odd"], "phase": "?"}')
    installation.put(run, b"\xff not even JSON")
    large = installation.event("r", 2, log_context={"x": "y" * LARGEST})
    installation.add(large)
    installation.add(installation.event("r", 3))
    installation.forward()
    until(service.has({("p/d/r/a0", 1), ("p/d/r/a0", 3)}))
    until(lambda: installation.open_events() == 0)
    assert dedupe_key(large) not in service.keys
    until(lambda: len(installation.audits()) == 2)
    assert installation.audits() == {"p/d/r/odd": "EventUnreadable", "p/d/r/a0": "EventNotForwarded"}


def test_a_broken_queue_keeps_nobody(installation: Installation, broker: Valkey, bind: Bind) -> None:
    """A key that is bound as a queue and holds something else costs its owner the events, and nobody else."""
    whole, broken = bind("#", "whole"), bind("*.*.r1.#", "broken")
    broker.client.set("broken", "no list")
    wanted = installation.publish(3)
    installation.forward()
    until(whole.has(wanted))
    until(lambda: installation.open_events() == 0)
    assert installation.audits() == {"p/d/r1/a0": "EventNotForwarded"}
    broker.client.delete("broken")
    after = {("p/d/r1/a0", 4)}
    installation.add(installation.event("r1", 4))
    until(broken.has(after))


def test_no_queue_means_no_message(installation: Installation, bind: Bind) -> None:
    """An event that no queue is bound for is dropped by the broker; a queue that is bound later gets the next ones."""
    installation.make_group()
    installation.forward()
    before = installation.publish(2)
    until(lambda: all(group_is_through(installation)))
    service = bind()
    after = installation.publish(2, start=50)
    until(service.has(after))
    assert not before & {(action, sequence) for _, action, sequence in service.received}


def group_is_through(installation: Installation) -> Iterator[bool]:
    """Tell for each shard whether its group has read and acknowledged all of it."""
    store = installation.store
    for shard in range(store.shards):
        [group] = store.client.xinfo_groups(store.keys.events(shard))
        yield group["lag"] == 0 and group["pending"] == 0


def test_a_broker_that_is_away_is_told_in_time(store_server: Valkey, broker: Valkey) -> None:
    """Publishing to a server that is gone raises with a remedy, and without the password."""
    settings = settings_for(store_server.url, broker.url)
    exchange = EventExchange(settings)
    installation = Installation(settings)
    event = installation.event("r", 1)
    installation.close()
    broker.kill()
    with pytest.raises(BrokerUnavailable, match="RECONCILER_EVENTS_EXCHANGE_URL") as caught:
        exchange.publish([event])
    assert EXCHANGE in str(caught.value)
    assert PASSWORD not in str(caught.value)
    exchange.close()


@pytest.mark.parametrize("url", ["memory://", "sqs://", "redis://host/x"])
def test_servers_without_bindings_are_refused(url: str) -> None:
    """A broker on which other programs cannot bind queues, or a URL that cannot be used, is a wrong setting."""
    settings = Settings(
        events_exchange=EXCHANGE, events_exchange_url=url, socket_timeout=timedelta(seconds=1)
    )
    with pytest.raises(InvalidSettings, match="RECONCILER_EVENTS_EXCHANGE_URL"):
        EventExchange(settings)

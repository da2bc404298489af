"""The results channel read by groups of consumers, on a real server: at least once, each event to one of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from support import created, eventually, make_action

from reconciler.api.action import RunId
from reconciler.api.errors import InvalidName, StoreUnavailable
from reconciler.client.channel import Channel, Reader, key_of
from reconciler.embedded.ports import pick_ports
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore

pytestmark = [pytest.mark.rule("R59"), pytest.mark.servers]
_prefixes = (f"channel{number}" for number in itertools.count())
Make = Callable[..., Reader]


@pytest.fixture
def store(valkey_url: str) -> Iterator[RedisStore]:
    """An empty installation."""
    made = RedisStore(Settings(redis_url=valkey_url, key_prefix=next(_prefixes), shards=4))
    yield made
    made.close()


@pytest.fixture
def make(store: RedisStore) -> Iterator[Make]:
    """Makes readers of the installation."""
    opened: list[Reader] = []

    def reader(consumer: str, group: str = "g", idle: float = 60) -> Reader:
        opened.append(Channel(store.settings).reader(group, consumer, idle=timedelta(seconds=idle)))
        return opened[-1]

    yield reader
    for one in opened:
        one.close()


def publish(store: RedisStore, count: int, start: int = 0) -> set[str]:
    """So many actions, each in a run of its own, with one event each; their runs."""
    names = {f"r{number}" for number in range(start, start + count)}
    for name in sorted(names):
        created(store, make_action(run=RunId("p", "d", name)))
    return names


def runs(reader: Reader, block: float = 0) -> list[str]:
    """Return the runs of what is read."""
    return sorted(e.event.id.run for e in reader.read(block=timedelta(seconds=block)))


def test_a_group_reads_each_event_once(store: RedisStore, make: Make) -> None:
    """Consumers of a group share the events of all shards; another group gets all of them too."""
    one, two, other = make("one"), make("two"), make("one", "other")
    published = publish(store, 12)
    assert len({store.shard_of(RunId("p", "d", name)) for name in published}) > 1
    first = one.read(limit=1)
    second = two.read()
    keys = [key_of(entry) for entry in (*first, *second)]
    assert first
    assert second
    assert len(set(keys)) == len(keys) == 12
    assert one.ack(first) == len(first)
    assert one.ack(first) == 0
    assert runs(one) == []
    assert runs(other) == sorted(published)


def test_events_of_the_dead_are_read_by_others(store: RedisStore, make: Make) -> None:
    """What a consumer read and did not acknowledge comes to another one; what it acknowledged does not."""
    published = publish(store, 6)
    dead = make("dead")
    read = dead.read()
    done = read[:2]
    assert dead.ack(done) == 2
    dead.close()
    heir = make("heir", idle=0.05)
    found: list[str] = []

    def inherited() -> bool:
        entries = heir.read()
        found.extend(entry.event.id.run for entry in entries)
        return heir.ack(entries) > 0 and len(found) >= 4

    eventually(inherited)
    assert sorted(found) == sorted(published - {entry.event.id.run for entry in done})


def test_a_consumer_that_is_alive_keeps_its_events(store: RedisStore, make: Make) -> None:
    """Nobody takes over what has not been open for as long as the reader allows."""
    publish(store, 3)
    assert len(make("one").read()) == 3
    assert make("two", idle=60).read() == []


def test_reading_waits_for_the_first_event(store: RedisStore, make: Make) -> None:
    """A read that blocks ends with the first event, and without one when its time is over, not before."""
    reader = make("one")
    began = time.monotonic()
    assert reader.read(block=timedelta(milliseconds=200)) == []
    assert 0.19 <= time.monotonic() - began < 10
    publish(store, 1)
    began = time.monotonic()
    assert runs(reader, 30) == ["r0"]
    assert time.monotonic() - began < 20


def test_a_lost_group_is_made_again(store: RedisStore, make: Make) -> None:
    """After the loss of the group its readers go on, from the oldest event that is kept."""
    reader = make("one")
    published = publish(store, 2)
    reader.ack(reader.read())
    for shard in range(store.shards):
        store.client.xgroup_destroy(store.keys.events(shard), "g")
    found: list[str] = []

    def read() -> bool:
        found.extend(runs(reader))
        return bool(found)

    eventually(read)
    assert sorted(found) == sorted(published)


def test_an_entry_that_cannot_be_read_is_skipped(store: RedisStore, make: Make) -> None:
    """What is no event is told once for each group and never comes again; what lies beside it arrives."""
    published = publish(store, 2)
    for key in map(store.keys.events, range(store.shards)):
        store.client.xadd(key, {"e": b'{"id": ["p", "d", "r0", "a0"], "phase": "odd"}'})
        store.client.xadd(key, {"e": b"nothing of ours"})
        store.client.xadd(key, {"other": b""})
    reader, heir = make("one"), make("two", idle=0.001)
    entries = reader.read()
    assert sorted(entry.event.id.run for entry in entries) == sorted(published)
    assert reader.ack(entries) == 2
    assert runs(heir) == []
    reasons = [one.reason for shard in range(store.shards) for one in store.audit(shard)]
    assert reasons == ["EventUnreadable"] * store.shards


@pytest.mark.parametrize(("group", "consumer"), [("", "c"), ("g", "a b"), ("a/b", "c")])
def test_bad_names_are_refused(group: str, consumer: str) -> None:
    """Groups and consumers are named as everything is."""
    with pytest.raises(InvalidName):
        Channel(Settings()).reader(group, consumer)


def test_no_patience_is_refused() -> None:
    """A reader that would take over everything at once is a mistake."""
    with pytest.raises(ValueError, match="longer than 0"):
        Channel(Settings()).reader("g", "c", idle=timedelta(0))


def test_a_server_that_is_away_is_told() -> None:
    """Reading without a server raises the error of the store."""
    [port] = pick_ports(1)
    reader = Channel(Settings(redis_url=f"redis://127.0.0.1:{port}/0")).reader("g", "c")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        reader.read()
    reader.close()

"""Who stands by is told of work, and no message is sent; who does not, any more, is told of nothing that gets lost."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import msgspec
import pytest
import redis
from cli_support import eventually

from reconciler.api.action import ActionSpec
from reconciler.api.errors import StoreUnavailable
from reconciler.client import Client
from reconciler.core.line import Line
from reconciler.settings import Settings
from reconciler.stores.lines import Head, Served
from reconciler.stores.redis import hearing
from reconciler.stores.redis.hearing import ShardsHeard, TicketsHeard
from reconciler.stores.redis.keys import Keys
from reconciler.stores.redis.notify import Notifier
from reconciler.stores.redis.store import RedisStore

pytestmark = pytest.mark.servers

_prefixes = (f"h{number}" for number in itertools.count())
QUEUE = "q"
Submit = Callable[[str], tuple[int, bool]]
SOON = 5.0
"""Seconds after which what was not told is not told at all."""
LINE = Line(QUEUE, 5, alone=False, fair="p", function="f").name


@pytest.fixture
def settings(url: str) -> Settings:
    """An installation of its own."""
    return Settings(redis_url=url, key_prefix=next(_prefixes), s3_endpoint="http://127.0.0.1:9")


@pytest.fixture
def store(settings: Settings) -> Iterator[RedisStore]:
    """Its records."""
    with closing(RedisStore(settings)) as opened:
        yield opened


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test opens."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def shards(store: RedisStore, stack: ExitStack) -> Callable[[], ShardsHeard]:
    """Makes one that may stand by for shards."""
    return lambda: stack.enter_context(closing(ShardsHeard(store)))


@pytest.fixture
def tickets(store: RedisStore, stack: ExitStack) -> Callable[[], TicketsHeard]:
    """Makes one that may stand by for a queue."""
    return lambda: stack.enter_context(closing(TicketsHeard(store, QUEUE)))


@pytest.fixture
def submit(settings: Settings) -> Iterator[Submit]:
    """Submits a run; returns its shard, and whether a message was sent for it."""
    with submitting(settings) as submitted:
        yield submitted


@contextmanager
def submitting(settings: Settings) -> Iterator[Submit]:
    """Do it with these settings."""
    queue = f"{settings.key_prefix}:mq:{settings.steps_queue}"
    client = Client.from_settings(settings)
    with redis.Redis.from_url(settings.redis_url) as server:

        def submitted(name: str) -> tuple[int, bool]:
            before = server.llen(queue)
            run = client.submit(ActionSpec(task_type="nobody", run_name=name))
            return Keys(settings.key_prefix, settings.shards).shard_of(run.id), server.llen(queue) != before

        yield submitted


def head(at: int) -> list[Head]:
    """Return a line with a launch, seen at a time."""
    return [Head(0, LINE, 1, at)]


# -- shards ------------------------------------------------------------------------------------------------------------
def test_what_is_due_is_told_instead_of_a_message(
    shards: Callable[[], ShardsHeard], submit: Submit, store: RedisStore
) -> None:
    """In each shard; and messages are sent again once nobody stands by."""
    heard = shards()
    before, sent = submit("before")
    assert sent
    store.claim(before, owner="step", limit=10, first=True)
    assert heard.begin()
    found = set()
    for number in range(8):
        shard, sent = submit(f"r{number}")
        assert not sent
        assert heard.next(SOON) == shard
        store.claim(shard, owner="step", limit=10, first=True)
        found.add(shard)
    assert len(found) > 1
    assert heard.end() == []
    assert submit("after")[1]


def test_one_stands_by_for_a_shard(shards: Callable[[], ShardsHeard]) -> None:
    """The second finds all taken, until the first one ends; who stands by already goes on."""
    first, second = shards(), shards()
    assert first.begin()
    assert not second.begin()
    assert first.begin()
    assert first.stay()
    first.end()
    assert second.begin()


def test_what_was_told_before_the_end_is_returned(shards: Callable[[], ShardsHeard], submit: Submit) -> None:
    """Whoever leaves has messages sent for it."""
    heard = shards()
    heard.begin()
    shard, sent = submit("told")
    assert not sent
    assert heard.end() == [shard]
    assert heard.end() == []


def test_the_dead_are_told_nothing(shards: Callable[[], ShardsHeard], submit: Submit) -> None:
    """Their line has ended with them, and the message is sent although their note still stands."""
    heard = shards()
    heard.begin()
    heard.close()
    assert submit("dead")[1]


def test_a_note_ends_by_itself(
    shards: Callable[[], ShardsHeard],
    submit: Submit,
    monkeypatch: pytest.MonkeyPatch,
    store: RedisStore,
) -> None:
    """Who is frozen makes it no more."""
    monkeypatch.setattr(hearing, "LIFE", 1)
    shards().begin()
    ends = time.monotonic() + SOON
    while store.client.exists(f"{store.keys.base(0)}hears") and time.monotonic() < ends:
        os.sched_yield()
    assert submit("frozen")[1]


def test_what_is_no_shard_is_not_heard(shards: Callable[[], ShardsHeard], store: RedisStore) -> None:
    """Anybody who may publish can say anything."""
    heard = shards()
    heard.begin()
    [channel] = store.client.pubsub_channels(f"{store.keys.prefix}:ear:*")  # type: ignore[no-untyped-call]  # redis-py has no types here
    for text in ("", "-1", "16", "1e1", "٣", "{01}", "x" * 10_000):
        store.client.publish(channel, text)
        assert heard.next(0.2) is None
    store.client.publish(channel, "15")
    assert heard.next(SOON) == 15


# -- tickets -----------------------------------------------------------------------------------------------------------
def test_a_ticket_is_told_to_one(tickets: Callable[[], TicketsHeard], store: RedisStore) -> None:
    """To who stood by last, and he stands by no more."""
    first, second = tickets(), tickets()
    assert first.begin()
    assert second.begin()
    assert not store.announce(QUEUE, head(1)), "no message is asked for"
    assert second.next(SOON)
    assert not first.next(0.05)
    store.pick(QUEUE, first=True, choose=False)
    assert not store.announce(QUEUE)
    assert first.next(SOON)
    store.pick(QUEUE, first=True, choose=False)
    assert store.announce(QUEUE), "nobody is left"


def test_nobody_stands_by_while_there_are_launches(
    tickets: Callable[[], TicketsHeard], store: RedisStore
) -> None:
    """But in a paused queue; when that goes on, it is told."""
    heard = tickets()
    assert store.announce(QUEUE, head(1))
    assert not heard.begin()
    store.set_queue(QUEUE, pause=True)
    assert heard.begin()
    store.set_queue(QUEUE, pause=False)
    assert not store.announce(QUEUE)
    assert heard.next(SOON)


def test_a_ticket_that_lies_in_the_queue_keeps_nobody_from_being_told(
    tickets: Callable[[], TicketsHeard], store: RedisStore
) -> None:
    """It was sent for what is done; where all slots stand by, nobody takes it."""
    heard = tickets()
    assert store.announce(QUEUE, head(1))
    assert store.pick(QUEUE, served=[Served(head(1)[0], 0, 1.0)]).lines == 0
    assert heard.begin()
    assert not store.announce(QUEUE, head(2))
    assert heard.next(SOON)


def test_a_ticket_told_before_the_end_is_known(
    tickets: Callable[[], TicketsHeard], store: RedisStore
) -> None:
    """Who leaves acts on it, and is told of no other."""
    heard = tickets()
    heard.begin()
    store.announce(QUEUE, head(1))
    assert heard.end()
    assert not heard.end()
    store.pick(QUEUE, first=True, choose=False)
    assert store.announce(QUEUE)


def test_the_dead_get_no_ticket(tickets: Callable[[], TicketsHeard], store: RedisStore) -> None:
    """The living one behind them does."""
    living, dead = tickets(), tickets()
    living.begin()
    dead.begin()
    dead.close()
    assert not store.announce(QUEUE, head(1))
    assert living.next(SOON)


def test_who_was_told_does_not_stay(
    tickets: Callable[[], TicketsHeard], store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look at the note says so, even if he was not heard."""
    monkeypatch.setattr(hearing, "_AGAIN", 0.0)
    heard = tickets()
    heard.begin()
    assert heard.stay()
    store.announce(QUEUE, head(1))
    assert not heard.stay()


# -- a line that breaks ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("what", ["shards", "tickets"])
def test_a_broken_line_is_opened_again(
    what: str,
    shards: Callable[[], ShardsHeard],
    tickets: Callable[[], TicketsHeard],
    store: RedisStore,
) -> None:
    """Somebody cuts all of them; the next stand-by hears again."""
    heard = shards() if what == "shards" else tickets()
    heard.begin()
    for one in store.client.client_list(_type="pubsub"):
        store.client.client_kill(one["addr"])
    try:
        heard.next(0.5)
    except StoreUnavailable:
        assert not heard.end()
    assert heard.begin()
    [channel] = store.client.pubsub_channels(f"{store.keys.prefix}:ear:*")  # type: ignore[no-untyped-call]  # redis-py has no types here
    store.client.publish(channel, "3")
    assert heard.next(SOON)


@pytest.mark.parametrize("what", ["shards", "tickets"])
def test_who_would_not_hear_does_not_stand_by(
    what: str,
    shards: Callable[[], ShardsHeard],
    tickets: Callable[[], TicketsHeard],
    store: RedisStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """His line leads nowhere, as after a failover: that is known when the note is made again, not when a call waits."""
    monkeypatch.setattr(hearing, "_AGAIN", 0.0)
    heard = shards() if what == "shards" else tickets()
    heard.begin()
    for one in store.client.client_list(_type="pubsub"):
        store.client.client_kill(one["addr"])
    eventually(lambda: not heard.stay())
    heard.end()
    assert heard.begin()
    assert heard.stay()


def test_a_line_that_could_not_be_opened_is_opened_the_next_time(
    shards: Callable[[], ShardsHeard], store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for one that hears."""
    heard = shards()
    with monkeypatch.context() as patch:
        patch.setattr(redis.client.PubSub, "subscribe", refuse)
        with pytest.raises(StoreUnavailable):
            heard.begin()
    assert heard.begin()
    [channel] = store.client.pubsub_channels(f"{store.keys.prefix}:ear:*")  # type: ignore[no-untyped-call]  # redis-py has no types here
    assert store.client.publish(channel, "3") == 1
    assert heard.next(SOON) == 3


def refuse(*_: object) -> None:
    """Stand in for a subscription that does not reach the server."""
    raise redis.ConnectionError("refused")


# -- waiters -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def notifier(settings: Settings) -> Iterator[Notifier]:
    """Listens for waiters."""
    with closing(Notifier(settings)) as opened:
        yield opened


def listeners(store: RedisStore, channel: str) -> int:
    """Count who listens on a channel."""
    [(_, count)] = store.client.pubsub_numsub(channel)  # type: ignore[no-untyped-call]  # redis-py has no types here
    return int(count)


def test_who_comes_back_to_a_channel_is_called(notifier: Notifier, store: RedisStore) -> None:
    """Its subscription has not ended yet; those that nobody comes back to end by themselves, while others wait, too."""
    called = threading.Event()
    with notifier.subscribe("left", lambda: None), notifier.subscribe("stays", lambda: None):
        pass
    with notifier.subscribe("left", called.set):
        assert store.client.publish("left", "") == 1
        assert called.wait(SOON)
        eventually(lambda: not listeners(store, "stays"))
        assert listeners(store, "left") == 1
    eventually(lambda: not listeners(store, "left"))


def test_many_channels_are_left_together(notifier: Notifier, store: RedisStore) -> None:
    """Also by who never rests; and each of them can be waited on again."""
    with notifier.subscribe("kept", lambda: None):
        for number in range(250):
            with notifier.subscribe(f"c{number}", lambda: None):
                pass
        assert sum(listeners(store, f"c{number}") for number in range(250)) <= 100
        called = threading.Event()
        with notifier.subscribe("c0", called.set):
            store.client.publish("c0", "")
            assert called.wait(SOON)


def test_a_failed_subscription_is_made_again(
    notifier: Notifier, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next waiter, although others listen meanwhile."""
    called = threading.Event()
    with notifier.subscribe("other", lambda: None):
        with monkeypatch.context() as patch:
            patch.setattr(redis.client.PubSub, "subscribe", refuse)
            with pytest.raises(StoreUnavailable), notifier.subscribe("mine", lambda: None):
                pass
        with notifier.subscribe("mine", called.set):
            assert store.client.publish("mine", "") == 1
            assert called.wait(SOON)


@pytest.mark.parametrize("right", ["-subscribe", "-publish"])
def test_who_may_not_tell_or_hear_gets_messages(right: str, settings: Settings) -> None:
    """A user without the right costs time, not an action."""
    with redis.Redis.from_url(settings.redis_url) as client:
        client.execute_command(  # type: ignore[no-untyped-call]  # redis-py has no types here
            "ACL", "SETUSER", "mute", "reset", "on", ">t0p-s3cret", "+@all", "~*", "&*", right
        )
        url = settings.redis_url.replace("redis://", "redis://mute:t0p-s3cret@")
        poor = msgspec.structs.replace(settings, redis_url=url)
        with closing(RedisStore(poor)) as store, closing(ShardsHeard(store)) as heard:
            if right == "-subscribe":
                with pytest.raises(StoreUnavailable, match="subscribe"):
                    heard.begin()
            else:
                assert heard.begin()
            with submitting(poor) as submit:
                assert submit("poor")[1]
        client.acl_deluser("mute")

"""A beat that is down, or mute because its clock was ahead, does not stop collecting: a steps worker stands in for it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from broker_servers import until

from reconciler.api.errors import StoreUnavailable
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore
from reconciler.wiring import Engine, build
from worker import process
from worker.collecting import PERIOD, SILENCE, SWEEP, StandIn
from worker.liveness import Liveness

pytestmark = pytest.mark.servers

_prefixes = (f"in{number}" for number in itertools.count())
DAY = 24 * 3600 * 1000


class Watched(RedisStore):
    """Says how often it was asked to collect; waits, or fails, if it is told to."""

    asked = 0
    fails: Exception | None = None

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.go_on = threading.Event()
        self.go_on.set()

    def collect(self, shard: int, **given: Any) -> Any:
        """Collect as any store, but only when allowed."""
        self.asked += shard == 0
        assert self.go_on.wait(20)
        if self.fails is not None:
            raise self.fails
        return super().collect(shard, **given)

    def nobody_collected_for(self, seconds: float) -> None:
        """Make the last pass as old as that; nobody can move the clock of Redis."""
        self.client.set(self.keys.swept(SWEEP), "1", px=DAY - int(seconds * 1000))


class Worker:
    """What stands in for beat in one worker, and its clock."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.at = 1000.0
        self.stand_in = StandIn(lambda: self.at)

    def look(self, later: float = PERIOD) -> None:
        """Look at a later time, and wait for what that began."""
        self.begin(later)
        self.stand_in.join(20)

    def begin(self, later: float = PERIOD) -> None:
        """Look at a later time."""
        self.at += later
        self.stand_in.look(self.engine)


@contextmanager
def _engine(url: str) -> Iterator[tuple[Engine, Watched]]:
    settings = Settings(redis_url=url, broker_url=url, key_prefix=next(_prefixes), shards=2)
    engine, store = build(settings), Watched(settings)
    engine.store.close()
    engine.store = store
    try:
        yield engine, store
    finally:
        store.close()


@pytest.fixture
def engine(url: str) -> Iterator[tuple[Engine, Watched]]:
    """An engine whose store is watched."""
    with _engine(url) as made:
        yield made


def test_a_worker_collects_when_nobody_has_for_long(engine: tuple[Engine, Watched]) -> None:
    """After three periods of beat without a pass; the pass is noted, so that it is not made again."""
    parts, store = engine
    worker = Worker(parts)
    store.nobody_collected_for(SILENCE - 5)
    worker.look()
    assert store.asked == 0
    store.nobody_collected_for(SILENCE)
    worker.look()
    worker.look()
    assert store.asked == 1
    assert (store.swept_ago(SWEEP) or 0) < 60_000


def test_the_age_of_a_host_clock_does_not_count(engine: tuple[Engine, Watched]) -> None:
    """However far the worker's own clock goes: while somebody collects by the clock of Redis, it does not."""
    parts, store = engine
    worker = Worker(parts)
    store.say_swept(SWEEP)
    worker.look(DAY)
    assert store.asked == 0


def test_a_new_installation_waits_for_its_beat(engine: tuple[Engine, Watched]) -> None:
    """Where nobody is known to have collected, a worker does so when it has itself lived that long."""
    parts, store = engine
    worker = Worker(parts)
    worker.look(SILENCE - PERIOD)
    assert store.asked == 0
    worker.look()
    assert store.asked == 1


def test_one_worker_at_a_time_collects(engine: tuple[Engine, Watched]) -> None:
    """While one does, neither another nor it itself begins, and none waits; who died is followed by another."""
    parts, store = engine
    first, second = Worker(parts), Worker(parts)
    store.go_on.clear()
    store.nobody_collected_for(SILENCE)
    first.begin()
    until(lambda: store.asked == 1)
    second.begin()
    first.begin()
    assert store.asked == 1
    store.go_on.set()
    first.stand_in.join(20)
    store.nobody_collected_for(SILENCE)
    second.look()
    assert store.asked == 1  # the turn is taken
    assert 0 < store.client.pttl(store.keys.turn(SWEEP)) <= SILENCE * 1000
    store.client.delete(store.keys.turn(SWEEP))  # it ends by itself
    second.look()
    assert store.asked == 2


@pytest.mark.parametrize("error", [StoreUnavailable("gone; look at its log"), ValueError("a fault of ours")])
def test_a_pass_that_fails_is_followed_by_another(engine: tuple[Engine, Watched], error: Exception) -> None:
    """It is no pass, so it is not noted as one; the worker lives on."""
    parts, store = engine
    worker = Worker(parts)
    store.fails = error
    store.nobody_collected_for(SILENCE)
    worker.look()
    assert (store.swept_ago(SWEEP) or 0) >= SILENCE * 1000
    store.client.delete(store.keys.turn(SWEEP))
    store.fails = None
    worker.look()
    assert store.asked == 2
    assert (store.swept_ago(SWEEP) or 0) < 60_000


def test_no_pass_begins_while_the_worker_shuts_down(engine: tuple[Engine, Watched]) -> None:
    """A worker that ends takes no turn either, so that another one has it at once."""
    parts, store = engine
    worker = Worker(parts)
    store.nobody_collected_for(SILENCE)
    worker.stand_in.end()
    worker.look()
    assert store.asked == 0
    assert not store.client.exists(store.keys.turn(SWEEP))


def test_redis_is_asked_once_in_a_period(engine: tuple[Engine, Watched]) -> None:
    """The guardian looks every 5 s; that costs nothing more often than beat would collect."""
    parts, store = engine
    worker = Worker(parts)
    store.nobody_collected_for(SILENCE)
    for _ in range(11):
        worker.look(5)
    assert store.asked == 0
    worker.look(5)
    assert store.asked == 1


@pytest.mark.parametrize("queue", ["steps", "attempts"])
def test_the_guardian_of_a_steps_worker_looks(
    engine: tuple[Engine, Watched], queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a worker of attempts does not, and none begins once it was stopped."""
    parts, store = engine
    monkeypatch.setattr(process, "current_engine", lambda: parts)
    periods = itertools.count()
    stand_in = StandIn(lambda: next(periods) * PERIOD)
    store.nobody_collected_for(SILENCE)
    liveness = Liveness("w@here", parts.settings, lambda: [queue])
    guardian = process.Guardian(liveness, steps=queue == "steps", collecting=stand_in)
    guardian.start()
    until(lambda: bool(store.asked) if queue == "steps" else bool(store.workers()))
    guardian.stop()
    guardian.join(20)
    stand_in.join(20)
    assert store.asked == (queue == "steps")
    store.client.delete(store.keys.turn(SWEEP))
    store.nobody_collected_for(SILENCE)
    stand_in.look(parts)
    stand_in.join(20)
    assert store.asked == (queue == "steps")

"""Two workers of one name say so each time they speak, so whoever looks between two words sees it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from reconciler.core.liveness import LIFE, WorkerFacts, read_facts
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore
from worker.liveness import Liveness

pytestmark = pytest.mark.servers
NAME = "attempts@h"


class Told(RedisStore):
    """Keeps all that was told, in its order."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.told: list[WorkerFacts] = []

    def say_alive(self, worker: str, facts: bytes, seconds: int) -> bytes:
        """Do as any store."""
        self.told.append(read_facts(facts))
        return super().say_alive(worker, facts, seconds)


@pytest.fixture
def store(url: str) -> Iterator[Told]:
    """A store that keeps what it was told."""
    made = Told(Settings(redis_url=url, broker_url=url, key_prefix="one-name"))
    made.say_alive(NAME, b"", 0)
    yield made
    made.close()


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch, store: Told) -> tuple[Liveness, Liveness]:
    """Two workers of one name, which have both spoken and know of each other."""
    first = Liveness(NAME, store.settings, lambda: ["attempts"])
    with monkeypatch.context() as other:
        other.setattr(os, "getpid", os.getppid)
        second = Liveness(NAME, store.settings, lambda: ["attempts"])
    for worker in (first, second, first, second):
        worker.say(store)
    return first, second


def test_no_word_leaves_the_other_out(store: Told, twins: tuple[Liveness, Liveness]) -> None:
    """Neither the first of two that one of them writes, nor one after which the other was late."""
    store.told.clear()
    for worker in (twins[0], twins[0], twins[1], twins[1], twins[0]):
        worker.say(store)
    assert [facts.twin for facts in store.told if not facts.twin] == []
    assert len(store.told) == 5, "one word is enough when it says who the other is"


def test_one_that_ended_is_forgotten_at_once(store: Told, twins: tuple[Liveness, Liveness]) -> None:
    """It took its word back, so it lives no more."""
    twins[1].end(store)
    twins[0].say(store)
    assert store.told[-1].twin == ""


def test_one_that_was_killed_is_forgotten_when_its_word_would_be(
    store: Told, twins: tuple[Liveness, Liveness], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is believed for as long as any other word."""
    twins[0].say(store)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + LIFE - 1)
    twins[0].say(store)
    assert store.told[-1].twin
    monkeypatch.setattr(time, "monotonic", lambda: now + LIFE + 1)
    twins[0].say(store)
    assert store.told[-1].twin == ""

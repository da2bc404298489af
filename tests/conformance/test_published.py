"""What workers publish of their functions: once for each release, renewed by a heartbeat, found by name."""

from __future__ import annotations

import pytest
from support import PassTime

from reconciler.stores.base import Store
from reconciler.stores.known import KEPT, MOST_RELEASES, Found

LIFE = 60_000
SOON = 200


def test_documents_are_sent_once(store: Store) -> None:
    """A release that is not known asks for its documents; from then on a heartbeat names it alone."""
    assert not store.publish("r1", {}, LIFE)
    assert store.find_published("f") == Found()
    assert store.publish("r1", {"f": b"one", "g": b"two"}, LIFE)
    assert store.publish("r1", {}, LIFE)
    assert store.find_published("f") == Found(b"one")
    assert store.find_published("g") == Found(b"two")


def test_many_documents_at_once(store: Store) -> None:
    """As many functions as a large application has."""
    assert store.publish("r1", {f"f{number}": b"%d" % number for number in range(3000)}, LIFE)
    assert store.find_published("f2999") == Found(b"2999")


def test_an_unknown_name_tells_the_known_ones(store: Store) -> None:
    """Of a function that nobody publishes one learns what is published."""
    store.publish("r1", {"b": b"1", "a": b"1"}, LIFE)
    store.publish("r2", {"b": b"2", "c": b"2"}, LIFE)
    assert store.find_published("d") == Found(names=("a", "b", "c"))


def test_the_release_that_came_last_counts(store: Store, pass_time: PassTime) -> None:
    """While a deploy goes on both releases run: the newer one counts, whoever of both said something last."""
    store.publish("old", {"f": b"old", "gone": b"old"}, LIFE)
    pass_time(5)
    store.publish("new", {"f": b"new"}, LIFE)
    pass_time(5)
    store.publish("old", {}, LIFE)
    assert store.find_published("f") == Found(b"new")
    assert store.find_published("gone") == Found(b"old")


def test_a_release_that_runs_goes_before_one_that_ran(store: Store, pass_time: PassTime) -> None:
    """Back to the release before: it counts as soon as the newer one runs no more."""
    store.publish("old", {"f": b"old"}, LIFE)
    pass_time(5)
    store.publish("new", {"f": b"new"}, SOON)
    assert store.find_published("f") == Found(b"new")
    pass_time(SOON + 50)
    assert store.find_published("f") == Found(b"old")


def test_what_was_published_outlives_its_workers(store: Store, pass_time: PassTime) -> None:
    """While no worker runs, functions can be submitted all the same: by the release that ran last."""
    store.publish("old", {"f": b"old"}, SOON // 2)
    pass_time(5)
    store.publish("new", {"f": b"new"}, SOON)
    pass_time(SOON + 50)
    assert store.find_published("f") == Found(b"new")


def test_a_release_that_comes_back_is_new_again(store: Store, pass_time: PassTime) -> None:
    """A release that had stopped counts from when it is started again."""
    store.publish("old", {"f": b"old"}, SOON)
    pass_time(SOON + 50)
    store.publish("new", {"f": b"new"}, LIFE)
    pass_time(5)
    assert store.publish("old", {}, LIFE)
    assert store.find_published("f") == Found(b"old")


def test_releases_do_not_add_up(store: Store, pass_time: PassTime) -> None:
    """However often one deploys, so many releases are kept, and those that nobody renewed for longest go."""
    for number in range(MOST_RELEASES + 3):
        store.publish(f"r{number}", {f"f{number}": b"x"}, LIFE)
        pass_time(2)
    known = store.find_published("none").names
    assert len(known) == MOST_RELEASES
    assert {"f0", "f1", "f2"}.isdisjoint(known)


@pytest.mark.parametrize("kind", ["memory"])
def test_a_day_later_it_is_forgotten(store: Store, pass_time: PassTime) -> None:
    """Redis does it by a TTL (below); the twin by its clock."""
    store.publish("r1", {"f": b"x"}, LIFE)
    pass_time(LIFE + KEPT + 1)
    assert store.find_published("f") == Found()
    assert not store.publish("r1", {}, LIFE)


@pytest.mark.parametrize("kind", [pytest.param("valkey", marks=pytest.mark.servers)])
def test_each_key_has_a_ttl(store: Store) -> None:
    """Both keys end a day after the last heartbeat."""
    store.publish("r1", {"f": b"x"}, LIFE)
    client, key = store.client, store.keys.published  # type: ignore[attr-defined]  # the Redis store
    for name in (key, f"{key}:r1"):
        assert KEPT < client.pttl(name) <= KEPT + LIFE


@pytest.mark.parametrize("kind", [pytest.param("valkey", marks=pytest.mark.servers)])
@pytest.mark.parametrize("text", ["", "x", "1", "1 2 3", "-5 7", "1e400 1", "9" * 400 + " 1"])
def test_what_others_wrote_there_does_no_harm(store: Store, text: str) -> None:
    """A field that is none of ours is passed over, and goes."""
    client, key = store.client, store.keys.published  # type: ignore[attr-defined]  # the Redis store
    client.hset(key, "other", text)
    assert store.find_published("f") == Found()
    assert store.publish("r1", {"f": b"x"}, LIFE)
    assert store.find_published("f") == Found(b"x")

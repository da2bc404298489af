"""Reservations of both catalogs: one holder, a lease, a token that fences, and who is woken when (R51)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from catalog_support import KEY, OTHER_KEY, OTHERS, OUTPUTS, SOURCE, MakeCatalog, MoveTime

from reconciler.api.errors import Superseded
from reconciler.api.transition import OutputRef
from reconciler.stores.catalog import Catalog, CatalogExists

# -- reservations ----------------------------------------------------------------------------------------------------


@pytest.mark.rule("R51")
def test_one_owner_holds_a_key(catalog: Catalog) -> None:
    """The first to ask gets it; another learns who has it, until when and under which token, and changes nothing."""
    mine = catalog.get_or_extend_reservation(KEY, "a", 2000)
    assert mine.owner == "a"
    assert catalog.get_or_extend_reservation(KEY, "b", 9000) == mine
    assert catalog.get_or_extend_reservation(KEY, "b", 9000) == mine


@pytest.mark.rule("R51")
def test_an_extension_moves_the_end_and_keeps_the_token(catalog: Catalog, move_time: MoveTime) -> None:
    """The owner asking again holds it longer, under the token it has."""
    first = catalog.get_or_extend_reservation(KEY, "a", 2000)
    move_time(5)
    again = catalog.get_or_extend_reservation(KEY, "a", 2000)
    assert again.token == first.token
    assert again.expires_at >= first.expires_at + 5


HEARTBEATS = [
    (2_000, 10, 2_000),
    (45_000, 10, 10_000),
    (0, 10, 10_000),
    (-1, 10, 10_000),
    (250, 10, 250),
    (60_000, 60, 60_000),
    (90_000, 60, 60_000),
    (60_000, 1, 10_000),
]


@pytest.mark.rule("R51")
@pytest.mark.parametrize(("asked", "requeue", "heartbeat"), HEARTBEATS)
def test_heartbeats_are_cut_but_never_below_the_requeue_duration(
    make_catalog: MakeCatalog, asked: int, requeue: int, heartbeat: int
) -> None:
    """The lease is three heartbeats; a heartbeat is at most 10 s or the requeue duration, and kept in ms."""
    catalog = make_catalog(requeue_duration=timedelta(seconds=requeue))
    now = catalog.get_or_extend_reservation(OTHER_KEY, "a", 1).expires_at - 3
    held = catalog.get_or_extend_reservation(KEY, "a", asked)
    assert held.heartbeat == heartbeat
    assert 0 <= held.expires_at - now - 3 * heartbeat < 5000


@pytest.mark.rule("R51")
@pytest.mark.parametrize("sign", [0, -1])
def test_limits_that_are_not_positive_fall_back(make_catalog: MakeCatalog, sign: int) -> None:
    """A maximum heartbeat or grace of 0 or less means 10 s and 3."""
    catalog = make_catalog(cache_max_heartbeat=timedelta(seconds=sign), cache_heartbeat_grace=sign)
    assert catalog.get_or_extend_reservation(KEY, "a", 45_000).heartbeat == 10_000


@pytest.mark.rule("R51")
def test_configured_limits_are_used(make_catalog: MakeCatalog) -> None:
    """Heartbeat and grace are settings."""
    limits = {"cache_max_heartbeat": timedelta(seconds=2), "requeue_duration": timedelta(seconds=1)}
    one = make_catalog(**limits, cache_heartbeat_grace=1).get_or_extend_reservation(KEY, "a", 5_000)
    many = make_catalog(**limits, cache_heartbeat_grace=100).get_or_extend_reservation(KEY, "a", 5_000)
    assert one.heartbeat == many.heartbeat == 2_000
    assert 190_000 < many.expires_at - one.expires_at < 206_000


@pytest.mark.rule("R51")
def test_a_lapsed_lease_is_taken_over_under_a_higher_token(catalog: Catalog, move_time: MoveTime) -> None:
    """When the lease has run out the next one to ask holds the key, and outranks the owner before it."""
    first = catalog.get_or_extend_reservation(KEY, "a", 10)
    move_time(31)
    second = catalog.get_or_extend_reservation(KEY, "b", 2000)
    assert second.owner == "b"
    assert second.token > first.token
    assert catalog.get_or_extend_reservation(KEY, "a", 2000) == second


@pytest.mark.rule("R51")
def test_an_owner_that_was_late_goes_on_when_nobody_came(catalog: Catalog, move_time: MoveTime) -> None:
    """A lapsed lease nobody took is extended under the same token: nobody else was there in between."""
    first = catalog.get_or_extend_reservation(KEY, "a", 10)
    move_time(31)
    again = catalog.get_or_extend_reservation(KEY, "a", 2000)
    assert again.token == first.token
    catalog.put(KEY, OUTPUTS, SOURCE, token=first.token)


@pytest.mark.rule("R51")
def test_released_is_free_for_the_next(catalog: Catalog) -> None:
    """After its release a key goes to whoever asks, under a higher token, the former owner included."""
    tokens = []
    for owner in ("a", "a", "b"):
        tokens.append(catalog.get_or_extend_reservation(KEY, owner, 2000).token)
        catalog.release_reservation(KEY, owner)
    assert tokens == sorted(set(tokens))


@pytest.mark.rule("R51")
def test_releasing_what_is_missing_or_foreign_changes_nothing(catalog: Catalog) -> None:
    """Only the owner can give a reservation back; others are told nothing."""
    assert catalog.release_reservation(KEY, "a") == ()
    mine = catalog.get_or_extend_reservation(KEY, "a", 2000)
    assert catalog.release_reservation(KEY, "b") == ()
    assert catalog.get_or_extend_reservation(KEY, "b", 2000) == mine


@pytest.mark.rule("R51")
def test_a_stale_owner_cannot_put(catalog: Catalog, move_time: MoveTime) -> None:
    """Whoever lost the reservation to another is refused, also with `replace`, also after that one has released."""
    stale = catalog.get_or_extend_reservation(KEY, "a", 10).token
    move_time(31)
    newer = catalog.get_or_extend_reservation(KEY, "b", 2000).token
    for replace in (False, True):
        with pytest.raises(Superseded, match="newer owner"):
            catalog.put(KEY, OUTPUTS, SOURCE, token=stale, replace=replace)
    catalog.release_reservation(KEY, "b")
    with pytest.raises(Superseded):
        catalog.put(KEY, OUTPUTS, SOURCE, token=stale)
    catalog.put(KEY, OTHERS, SOURCE, token=newer)
    assert catalog.get(KEY).outputs == OTHERS


@pytest.mark.rule("R51")
def test_a_token_nobody_handed_out_is_refused_while_the_key_is_held(catalog: Catalog) -> None:
    """A token from elsewhere does not pass for the holder's."""
    token = catalog.get_or_extend_reservation(KEY, "a", 2000).token
    with pytest.raises(Superseded):
        catalog.put(KEY, OUTPUTS, SOURCE, token=token + 1)


def test_without_a_token_the_reservation_is_not_asked(catalog: Catalog) -> None:
    """A task that is not serialized fills a key that somebody else has reserved."""
    catalog.get_or_extend_reservation(KEY, "a", 2000)
    catalog.put(KEY, OUTPUTS, SOURCE)
    assert catalog.get(KEY).outputs == OUTPUTS


# -- races -----------------------------------------------------------------------------------------------------------


def together(count: int, call: Callable[[int], Any]) -> list[Any]:
    """Return the answers of so many threads that start at the same moment."""
    barrier = threading.Barrier(count)

    def run(index: int) -> Any:
        barrier.wait(30)
        return call(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.rule("R51")
def test_a_race_has_one_winner(catalog: Catalog) -> None:
    """Of 50 who ask at once exactly one gets the reservation, and all are told the same."""
    answers = together(50, lambda i: catalog.get_or_extend_reservation(KEY, f"owner{i}", 10_000))
    assert len(set(answers)) == 1
    losers = {f"owner{i}" for i in range(50)} - {answers[0].owner}
    assert set(catalog.put(KEY, OUTPUTS, SOURCE, token=answers[0].token)) == losers


@pytest.mark.rule("R51")
def test_a_release_between_does_not_break_a_reservation(catalog: Catalog) -> None:
    """Reserving while others release always answers, and two never hold the key under one token."""
    holders: dict[int, set[str]] = {}
    lock = threading.Lock()

    def churn(index: int) -> None:
        owner = f"owner{index}"
        for _ in range(40):
            held = catalog.get_or_extend_reservation(KEY, owner, 10_000)
            with lock:
                holders.setdefault(held.token, set()).add(held.owner)
            if held.owner == owner:
                catalog.release_reservation(KEY, owner)

    together(8, churn)
    assert len(holders) > 1
    assert all(len(owners) == 1 for owners in holders.values())


@pytest.mark.rule("R46")
def test_one_of_many_puts_wins(catalog: Catalog) -> None:
    """Of 20 puts at once one fills the key; the others are told that it is filled."""

    def put(index: int) -> bool:
        try:
            catalog.put(KEY, OutputRef(uri=f"s3://bucket/{index}/outputs.pb"), SOURCE)
        except CatalogExists:
            return False
        return True

    answers = together(20, put)
    assert answers.count(True) == 1
    assert catalog.get(KEY).outputs.uri == f"s3://bucket/{answers.index(True)}/outputs.pb"


# -- waiting ---------------------------------------------------------------------------------------------------------


def test_a_put_names_all_who_wait_once(catalog: Catalog, move_time: MoveTime) -> None:
    """Whoever was refused is named by the put, first come first, however often it asked, and not again."""
    token = catalog.get_or_extend_reservation(KEY, "a", 2000).token
    for owner in ("b", "c", "b"):
        catalog.get_or_extend_reservation(KEY, owner, 2000)
        move_time(2)
    assert catalog.put(KEY, OUTPUTS, SOURCE, token=token) == ("b", "c")
    assert catalog.release_reservation(KEY, "a") == ()


def test_a_release_without_an_entry_names_the_first_who_waits(catalog: Catalog, move_time: MoveTime) -> None:
    """When the key is not filled only one can go on; the others stay in line."""
    for owner in ("a", "b", "c"):
        catalog.get_or_extend_reservation(KEY, owner, 2000)
        move_time(2)
    assert catalog.release_reservation(KEY, "a") == ("b",)
    assert catalog.get_or_extend_reservation(KEY, "b", 2000).owner == "b"
    assert catalog.release_reservation(KEY, "b") == ("c",)


def test_a_release_after_the_put_names_who_came_in_between(catalog: Catalog) -> None:
    """Whoever looked before the put and asked after it is not forgotten."""
    catalog.get_or_extend_reservation(KEY, "a", 2000)
    catalog.put(KEY, OUTPUTS, SOURCE)
    catalog.get_or_extend_reservation(KEY, "b", 2000)
    catalog.get_or_extend_reservation(KEY, "c", 2000)
    assert sorted(catalog.release_reservation(KEY, "a")) == ["b", "c"]


def test_whoever_gives_up_waits_no_more(catalog: Catalog) -> None:
    """A waiter that releases, because it was aborted, is not named later; nor is one that took over."""
    token = catalog.get_or_extend_reservation(KEY, "a", 2000).token
    catalog.get_or_extend_reservation(KEY, "b", 2000)
    catalog.release_reservation(KEY, "b")
    assert catalog.put(KEY, OUTPUTS, SOURCE, token=token) == ()


def test_whoever_takes_over_waits_no_more(catalog: Catalog, move_time: MoveTime) -> None:
    """A waiter that got the reservation is not told of its own put."""
    catalog.get_or_extend_reservation(KEY, "a", 10)
    catalog.get_or_extend_reservation(KEY, "b", 10)
    move_time(31)
    token = catalog.get_or_extend_reservation(KEY, "b", 2000).token
    assert catalog.put(KEY, OUTPUTS, SOURCE, token=token) == ()

"""Both catalogs keep R46 and R51: entries, reservations with fencing tokens, and who is woken when."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from catalog_support import KEY, OTHER_KEY, OTHERS, OUTPUTS, SOURCE, MakeCatalog, MoveTime, server_time
from support import eventually

from reconciler.api.errors import InvalidInput, StoreUnavailable
from reconciler.api.transition import OutputRef
from reconciler.settings import Settings
from reconciler.stores.catalog import (
    CacheKey,
    CacheSource,
    Catalog,
    CatalogCorrupt,
    CatalogExists,
    CatalogMiss,
)
from reconciler.stores.redis.catalog import RedisCatalog

_numbers = itertools.count()


def keys_of(catalog: RedisCatalog) -> list[str]:
    """Return all Redis keys of `KEY`."""
    return [key.decode() for key in catalog.client.scan_iter(f"{catalog._keys.cache(KEY.digest)}*")]


# -- entries ---------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R50")
def test_a_key_without_an_entry_is_a_miss(catalog: Catalog) -> None:
    """Nothing was put: the lookup says so by an error of its own."""
    with pytest.raises(CatalogMiss, match="no entry for p-d-task"):
        catalog.get(KEY)


@pytest.mark.rule("R50", "R46")
def test_an_entry_is_read_as_it_was_put(catalog: Catalog) -> None:
    """A hit names where the outputs lie and which launch made them, and carries both times."""
    catalog.put(KEY, OUTPUTS, SOURCE)
    entry = catalog.get(KEY)
    assert (entry.outputs, entry.source) == (OUTPUTS, SOURCE)
    assert entry.created_at == entry.last_updated_at > 0


@pytest.mark.rule("R46")
def test_only_the_reference_is_stored(catalog: Catalog) -> None:
    """The copy of small outputs that a reference may carry is not kept: outputs are read from S3."""
    catalog.put(KEY, OutputRef(uri=OUTPUTS.uri, size=2, inline=b"{}"), SOURCE)
    assert catalog.get(KEY).outputs == OutputRef(uri=OUTPUTS.uri, size=2)


@pytest.mark.rule("R46")
def test_a_filled_key_is_not_overwritten(catalog: Catalog) -> None:
    """The second put is told that the key is filled; the first entry stands."""
    catalog.put(KEY, OUTPUTS, SOURCE)
    with pytest.raises(CatalogExists):
        catalog.put(KEY, OTHERS, SOURCE)
    assert catalog.get(KEY).outputs == OUTPUTS


@pytest.mark.rule("R46")
def test_an_entry_can_be_replaced_on_purpose(catalog: Catalog, move_time: MoveTime) -> None:
    """Replacing writes new outputs and the time of it, and keeps when the entry was created."""
    catalog.put(KEY, OUTPUTS, SOURCE)
    before = catalog.get(KEY)
    move_time(5)
    catalog.put(KEY, OTHERS, SOURCE, replace=True)
    entry = catalog.get(KEY)
    assert entry.outputs == OTHERS
    assert entry.created_at == before.created_at
    assert entry.last_updated_at >= before.last_updated_at + 5


@pytest.mark.rule("R46")
def test_a_deleted_entry_is_gone(catalog: Catalog) -> None:
    """Delete forgets one entry; deleting what is not there is a miss; who holds the key goes on holding it."""
    held = catalog.get_or_extend_reservation(KEY, "owner", 0)
    catalog.put(KEY, OUTPUTS, SOURCE, token=held.token)
    catalog.put(OTHER_KEY, OTHERS, SOURCE)
    catalog.delete(KEY)
    for again in (catalog.get, catalog.delete):
        with pytest.raises(CatalogMiss, match="no entry for p-d-task"):
            again(KEY)
    assert catalog.get(OTHER_KEY).outputs == OTHERS
    assert catalog.get_or_extend_reservation(KEY, "other", 0).token == held.token
    catalog.put(KEY, OTHERS, SOURCE)
    assert catalog.get(KEY).outputs == OTHERS


@pytest.mark.rule("R46")
def test_the_time_of_creation_is_the_sources(catalog: Catalog) -> None:
    """A source that says when its outputs were made is believed."""
    catalog.put(KEY, OUTPUTS, CacheSource(created_at=7))
    assert catalog.get(KEY).created_at == 7


@pytest.mark.rule("R50", "R46")
def test_an_entry_over_its_age_is_a_miss_and_replaced(make_catalog: MakeCatalog, move_time: MoveTime) -> None:
    """An entry that is too old is not served, and a plain put takes its place."""
    catalog = make_catalog(cache_max_age=timedelta(milliseconds=300))
    catalog.put(KEY, OUTPUTS, SOURCE)
    with pytest.raises(CatalogExists):
        catalog.put(KEY, OTHERS, SOURCE)
    move_time(301)
    with pytest.raises(CatalogMiss, match="RECONCILER_CACHE_MAX_AGE"):
        catalog.get(KEY)
    catalog.put(KEY, OTHERS, SOURCE)
    assert catalog.get(KEY).outputs == OTHERS


def test_an_entry_ends_with_its_retention(make_catalog: MakeCatalog, move_time: MoveTime) -> None:
    """After the retention the key is free."""
    catalog = make_catalog(cache_retention=timedelta(milliseconds=50))
    catalog.put(KEY, OUTPUTS, SOURCE)
    move_time(60)
    with pytest.raises(CatalogMiss, match="no entry"):
        catalog.get(KEY)
    catalog.put(KEY, OTHERS, SOURCE)


def test_without_a_retention_an_entry_stays(
    make_catalog: MakeCatalog, kind: str, request: pytest.FixtureRequest
) -> None:
    """A retention of 0 keeps entries for ever, also one that had an end before."""
    catalog = make_catalog(cache_retention=timedelta(0))
    catalog.put(KEY, OUTPUTS, SOURCE)
    if kind == "memory":
        request.getfixturevalue("clock").now += 10**12
    else:
        assert isinstance(catalog, RedisCatalog)
        [name] = keys_of(catalog)
        catalog.client.pexpire(name, 60_000)
        catalog.put(KEY, OUTPUTS, SOURCE, replace=True)
        assert catalog.client.pttl(name) == -1
    assert catalog.get(KEY).outputs == OUTPUTS


@pytest.mark.rule("R49")
@pytest.mark.parametrize(
    "other",
    [
        CacheKey(project="q", domain="d", key=KEY.key),
        CacheKey(project="p", domain="e", key=KEY.key),
        OTHER_KEY,
        CacheKey(project="p-d", domain="task", key="interface-inputs-v1"),
    ],
    ids=["project", "domain", "key", "same text"],
)
def test_keys_are_apart(catalog: Catalog, other: CacheKey) -> None:
    """Keys of other projects and domains are other keys, also where their texts are the same."""
    catalog.put(KEY, OUTPUTS, SOURCE)
    catalog.get_or_extend_reservation(KEY, "a", 1000)
    with pytest.raises(CatalogMiss):
        catalog.get(other)
    assert catalog.get_or_extend_reservation(other, "b", 1000).owner == "b"


@pytest.mark.rule("R46", "R51")
def test_empty_arguments_are_refused(catalog: Catalog) -> None:
    """A key, a URI and an owner must say something."""
    nothing = CacheKey(project="p", domain="d", key="")
    for call in (
        lambda: catalog.get(nothing),
        lambda: catalog.put(nothing, OUTPUTS, SOURCE),
        lambda: catalog.put(KEY, OutputRef(uri=""), SOURCE),
        lambda: catalog.get_or_extend_reservation(nothing, "a", 0),
        lambda: catalog.get_or_extend_reservation(KEY, "", 0),
        lambda: catalog.release_reservation(nothing, "a"),
        lambda: catalog.release_reservation(KEY, ""),
    ):
        with pytest.raises(InvalidInput):
            call()


# -- Redis alone -----------------------------------------------------------------------------------------------------


@pytest.fixture
def make_on_redis(valkey_url: str) -> Iterator[Callable[..., RedisCatalog]]:
    """Builds catalogs on Valkey."""
    opened: list[RedisCatalog] = []

    def build(**settings: Any) -> RedisCatalog:
        prefix = f"only{next(_numbers)}"
        opened.append(RedisCatalog(Settings(redis_url=valkey_url, key_prefix=prefix, **settings)))
        return opened[-1]

    yield build
    for catalog in opened:
        catalog.close()


@pytest.fixture
def on_redis(make_on_redis: Callable[..., RedisCatalog]) -> RedisCatalog:
    """A catalog on Valkey."""
    return make_on_redis()


@pytest.mark.servers
@pytest.mark.rule("R50")
@pytest.mark.parametrize(
    ("field", "value"), [("o", None), ("o", "{"), ("x", "[]"), ("u", None), ("u", "soon")]
)
def test_a_damaged_entry_is_an_error_and_no_miss(
    on_redis: RedisCatalog, field: str, value: str | None
) -> None:
    """An entry that does not hold what it should is told apart from a missing one, and can be replaced."""
    on_redis.put(KEY, OUTPUTS, SOURCE)
    [name] = keys_of(on_redis)
    if value is None:
        on_redis.client.hdel(name, field)
    else:
        on_redis.client.hset(name, field, value)
    with pytest.raises(CatalogCorrupt, match="the next put replaces it"):
        on_redis.get(KEY)
    on_redis.put(KEY, OTHERS, SOURCE, replace=True)
    assert on_redis.get(KEY).outputs == OTHERS


@pytest.mark.servers
@pytest.mark.rule("R46")
@pytest.mark.parametrize("damage", ["u", "u ahead", "c", "another type"])
@pytest.mark.parametrize("max_age", [0, 60])
def test_an_entry_nobody_can_read_is_replaced_by_the_next_put(
    make_on_redis: Callable[..., RedisCatalog], damage: str, max_age: int
) -> None:
    """Whatever became of an entry, and whether entries age or not: one that cannot be read does not stay for ever."""
    catalog = make_on_redis(cache_max_age=timedelta(seconds=max_age))
    catalog.put(KEY, OUTPUTS, SOURCE)
    [name] = keys_of(catalog)
    if damage == "another type":
        catalog.client.set(name, "somebody else's")
    else:
        catalog.client.hset(name, damage[0], "1e999" if damage == "u ahead" else "soon")
    with pytest.raises(CatalogCorrupt, match="the next put replaces it"):
        catalog.get(KEY)
    catalog.put(KEY, OTHERS, msgspec.structs.replace(SOURCE, created_at=0), replace=damage == "c")
    assert catalog.get(KEY).outputs == OTHERS


@pytest.mark.servers
@pytest.mark.rule("R51")
def test_tokens_grow_also_when_the_counter_was_lost(on_redis: RedisCatalog) -> None:
    """A key that forgot its newest token never hands out one that an earlier owner may still hold."""
    old = on_redis.get_or_extend_reservation(KEY, "a", 2000).token
    eventually(lambda: server_time(on_redis.client) > old)
    on_redis.client.delete(*keys_of(on_redis))
    assert on_redis.get_or_extend_reservation(KEY, "b", 2000).token > old


@pytest.mark.servers
def test_the_keys_of_one_cache_key_share_a_slot(on_redis: RedisCatalog) -> None:
    """Entry, reservation and waiters carry one hash tag, so that Redis Cluster keeps them together."""
    on_redis.get_or_extend_reservation(KEY, "a", 2000)
    on_redis.get_or_extend_reservation(KEY, "b", 2000)
    assert len(keys_of(on_redis)) == 2
    on_redis.put(OTHER_KEY, OUTPUTS, SOURCE)
    on_redis.put(KEY, OUTPUTS, SOURCE)
    keys = keys_of(on_redis)
    assert len(keys) == 2
    assert {key.partition("{")[2].partition("}")[0] for key in keys} == {f"c:{KEY.digest}"}


@pytest.mark.servers
def test_a_server_that_is_away_is_named(valkey_url: str) -> None:
    """Without Redis each verb fails with one sentence that names the server."""
    del valkey_url
    catalog = RedisCatalog(Settings(redis_url="redis://127.0.0.1:1/0"))
    for call in (
        lambda: catalog.get(KEY),
        lambda: catalog.put(KEY, OUTPUTS, SOURCE),
        lambda: catalog.get_or_extend_reservation(KEY, "a", 0),
        lambda: catalog.release_reservation(KEY, "a"),
    ):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
            call()

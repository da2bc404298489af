"""Check the properties a Redis server needs before an installation may trust it with its records."""

from __future__ import annotations

from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from reconciler.address import mask
from reconciler.api.errors import Outage, StoreUnavailable
from reconciler.core.refusals import rights_problem
from reconciler.stores.outage import problem_of
from reconciler.stores.redis.confirm import replicas_of
from reconciler.stores.redis.connect import explained
from reconciler.stores.redis.rights import missing_rights
from reconciler.stores.redis.scripts import load_scripts
from reconciler.stores.redis.store import RedisStore

LAYOUT = 1
"""Version of the record layout (stores/records.py)."""
OLDEST = (7, 0)


def store_problems(store: RedisStore) -> list[str]:
    """List what is wrong with this server, as sentences with a remedy; empty when nothing is.

    The first process to look fixes number of shards and layout for all. A good server is given the scripts.
    """
    where = f"Redis at {mask(store.url)}"
    try:
        with explained(store.url):
            info: dict[str, Any] = store.client.info("default")
    except StoreUnavailable as error:
        if isinstance(error.__cause__, NoPermissionError):
            return _rights(store, where, "+info")
        return [problem_of(error)]
    if info.get("role") == "slave":
        why = "is a replica, which takes no changes: let RECONCILER_REDIS_URL name the primary, or Sentinel"
        return [problem_of(StoreUnavailable(f"{where} {why}"))]  # until a failover is over
    found = server_problems(info, where) + _durability(store, info, where)
    return found or _rights(store, where) or _meta(store, where) or _scripts(store)


def server_problems(info: dict[str, Any], where: str) -> list[str]:
    """List what makes a server unfit for good, by its own information.

    Args:
        info: its answer to INFO; empty when it may not be asked.
        where: which server, for people.
    """
    return _version(info, where) + _eviction(info, where) + _keeping(info, where) if info else []


def _keeping(info: dict[str, Any], where: str) -> list[str]:
    if info.get("aof_enabled"):
        return []
    return [f"{where} keeps nothing over a restart (appendonly no): set appendonly yes"]


def _rights(store: RedisStore, where: str, *known: str) -> list[str]:
    """List what the user may not do. `known` was refused before."""
    with explained(store.url):
        return rights_problem(where, [*known, *missing_rights(store)])


def _version(info: dict[str, Any], where: str) -> list[str]:
    version = str(info.get("redis_version", "0.0"))
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if parts < OLDEST:
        return [f"{where} is version {version}: Redis 7.0 or newer, or Valkey, is needed"]
    if info.get("cluster_enabled"):
        return [
            f"{where} is a cluster node: give a single server or a Sentinel, Celery's broker needs it too"
        ]
    return []


def _eviction(info: dict[str, Any], where: str) -> list[str]:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return []
    return [
        (
            f"{where} may evict records (maxmemory-policy {policy}): set it to noeviction, "
            "else accepted actions get lost when memory is short"
        )
    ]


def _durability(store: RedisStore, info: dict[str, Any], where: str) -> list[str]:
    if info.get("aof_last_write_status", "ok") != "ok":
        return [f"{where} cannot write its append-only file: free its disk, then restart it"]
    return _safety(store, where) if store.settings.durability == "safe" else []


def _safety(store: RedisStore, where: str) -> list[str]:
    try:
        fsync = store.client.config_get("appendfsync").get("appendfsync", "?")
    except NoPermissionError:
        return rights_problem(f"RECONCILER_DURABILITY=safe cannot be verified: {where}", ["+config|get"])
    except RedisError as error:
        return [
            f"RECONCILER_DURABILITY=safe cannot be verified, {where} refuses CONFIG GET ({error}): allow it"
        ]
    if fsync != "always":
        return [f"RECONCILER_DURABILITY=safe needs appendfsync always, {where} has appendfsync {fsync}"]
    wanted, there = store.settings.confirm_replicas, replicas_of(store.client)
    if there < wanted:
        return [
            Outage(
                f"RECONCILER_CONFIRM_REPLICAS={wanted}, but {where} has {there} connected: start them first"
            )
        ]
    return []


def _meta(store: RedisStore, where: str) -> list[str]:
    with explained(store.url):
        pipe = store.client.pipeline()
        for name, value in _shape(store.shards).items():
            pipe.hsetnx(store.keys.meta, name, value)
        pipe.hgetall(store.keys.meta)
        stored = pipe.execute()[-1]
    return shape_problems(stored, store.shards, where)


def _shape(shards: int) -> dict[str, int]:
    return {"shards": shards, "layout": LAYOUT}


def shape_problems(stored: dict[bytes, bytes], shards: int, where: str) -> list[str]:
    """List how a data set differs from what this process would read and write.

    Args:
        stored: what the first worker fixed; empty before there was one.
        shards: number of shards of the settings.
        where: which server, for people.
    """
    found = []
    for name, value in _shape(shards).items():
        have = int(stored.get(name.encode(), value))
        if have != value:
            remedy = "set RECONCILER_SHARDS to it" if name == "shards" else "run the release that wrote it"
            found.append(f"{where} holds a data set with {name} = {have}, not {value}: {remedy}")
    return found


def _scripts(store: RedisStore) -> list[str]:
    with explained(store.url):
        load_scripts(store.client)
    return []

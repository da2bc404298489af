"""The catalog on Redis >= 7 or Valkey: entries, reservations and who waits for them; one script per verb (R51)."""

from __future__ import annotations

from typing import Any

import msgspec
import redis
from redis.exceptions import ResponseError

from reconciler.api.tokens import NO_RESERVATION, ReservationToken
from reconciler.api.transition import OutputRef
from reconciler.settings import Settings
from reconciler.stores import records
from reconciler.stores.catalog import CacheEntry, CacheKey, CacheSource, Reservation
from reconciler.stores.catalog_rules import (
    TOKEN_MEMORY,
    CacheLimits,
    check_owner,
    check_put,
    corrupt,
    filled,
    missing,
    superseded,
    too_old,
)
from reconciler.stores.redis.connect import connect, explain
from reconciler.stores.redis.keys import Keys
from reconciler.stores.redis.scripts import script

_EXISTS, _SUPERSEDED = 1, 2
_outputs = msgspec.json.Decoder(OutputRef)
_source = msgspec.json.Decoder(CacheSource)


class RedisCatalog:
    """Implements `reconciler.stores.catalog.Catalog`. All keys of one cache key share a hash tag, but none with any run.

    Every method raises `StoreUnavailable`, within `RECONCILER_SOCKET_TIMEOUT`, when the server does not answer.

    Args:
        settings: server, key prefix, limits.
        client: shared with the store; connected anew when not given.
    """

    def __init__(self, settings: Settings, client: redis.Redis | None = None) -> None:
        self.url = settings.redis_url
        self.client = client if client is not None else connect(settings)
        self.limits = CacheLimits.of(settings)
        self._keys = Keys(settings.key_prefix, settings.shards)

    @explain
    def get(self, key: CacheKey) -> CacheEntry:
        pipe: Any = self.client.pipeline(transaction=False)
        pipe.hmget(self._keys.cache_entry(key.checked().digest), "o", "x", "c", "u")
        if self.limits.max_age:
            pipe.execute_command("TIME")  # as `pipe.time`, which a client of a cluster refuses
        try:
            fields, *time = pipe.execute()
        except ResponseError as error:
            if "WRONGTYPE" in str(error):
                raise corrupt(key, "it is of another type") from error
            raise
        if not any(fields):
            raise missing(key)
        entry = _entry(key, fields)
        if time and self.limits.stale(entry.last_updated_at, _millis(time[0])):
            raise too_old(key)
        return entry

    @explain
    def put(
        self,
        key: CacheKey,
        outputs: OutputRef,
        source: CacheSource,
        *,
        token: ReservationToken = NO_RESERVATION,
        replace: bool = False,
    ) -> tuple[str, ...]:
        outcome, waiting = self._run(
            "catalog_put",
            key,
            *(token, int(replace), self.limits.max_age, self.limits.retention),
            *(records.encode_json(check_put(key, outputs)), records.encode_json(source)),
            *(source.created_at, str(key)),
        )
        if outcome == _EXISTS:
            raise filled(key)
        if outcome == _SUPERSEDED:
            raise superseded(key)
        return _texts(waiting)

    @explain
    def delete(self, key: CacheKey) -> None:
        if not self.client.delete(self._keys.cache_entry(key.checked().digest)):
            raise missing(key)

    @explain
    def get_or_extend_reservation(self, key: CacheKey, owner: str, heartbeat: int) -> Reservation:
        check_owner(key, owner)
        beat = self.limits.heartbeat(heartbeat)
        lease = beat * self.limits.grace
        holder, token, until, theirs = self._run("catalog_reserve", key, owner, beat, lease, TOKEN_MEMORY)
        return Reservation(
            owner=holder.decode(),
            token=ReservationToken(int(token)),
            expires_at=int(until),
            heartbeat=int(theirs),
        )

    @explain
    def release_reservation(self, key: CacheKey, owner: str) -> tuple[str, ...]:
        check_owner(key, owner)
        return _texts(self._run("catalog_release", key, owner))

    def close(self) -> None:
        """Close all connections."""
        self.client.close()

    def _run(self, verb: str, key: CacheKey, *args: object) -> Any:  # noqa: ANN401  # what Redis answers
        digest = key.checked().digest
        return script(verb)(self.client, self._keys.cache_entry(digest), self._keys.cache(digest), *args)


def _entry(key: CacheKey, fields: list[bytes | None]) -> CacheEntry:
    outputs, source, created, updated = (field or b"" for field in fields)
    try:
        return CacheEntry(
            outputs=_outputs.decode(outputs),
            source=_source.decode(source),
            created_at=int(created),
            last_updated_at=int(updated),
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise corrupt(key, error) from error


def _millis(time: tuple[int, int]) -> int:
    return int(time[0]) * 1000 + int(time[1]) // 1000


def _texts(values: list[bytes]) -> tuple[str, ...]:
    return tuple(value.decode() for value in values)

"""The things that all parts of the Redis store share: client, keys, scripts and the cache of shared specs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import redis
from redis.client import Pipeline

from reconciler.api.action import ActionId, Children, RunId, TaskAction
from reconciler.api.remembered import Remembered
from reconciler.settings import Settings
from reconciler.stores import records
from reconciler.stores.redis.connect import connect
from reconciler.stores.redis.keys import Keys
from reconciler.stores.shared_parts import decode_shared, shared_digest

_SHARED_CACHE = 48 * 1024 * 1024
"""Bytes of shared specs a process remembers: those of one batch, at least, whatever their size."""
_OVERHEAD = 2048
"""What keeping one takes beside its own bytes."""


def open_json(value: msgspec.Struct) -> bytes:
    """Write the JSON of a record without its closing brace, so that scripts can append the store's own time."""
    return records.encode_json(value)[:-1]


def pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Turn a flat list of field, value, field, value … into a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def counted(three: Sequence[bytes | None] | None) -> Children | None:
    """Read the counts of an action's children from the answer of a script; None when it has none."""
    return Children(*(int(n or 0) for n in three)) if three else None


class RedisCore:
    """Base of the parts of `RedisStore`."""

    def __init__(self, settings: Settings, client: redis.Redis | None = None) -> None:
        self.settings = settings
        self.url = settings.redis_url
        self.client = client if client is not None else connect(settings)
        self.keys = Keys(settings.key_prefix, settings.shards)
        self.shards = settings.shards
        self._horizon = int(settings.max_countdown.total_seconds() * 1000)
        self._lease = int(settings.step_lease.total_seconds() * 1000)
        self._shared: Remembered[bytes, Mapping[str, Any]] = Remembered(_SHARED_CACHE)

    def shard_of(self, run: RunId) -> int:
        """Compute the shard all keys of a run lie in."""
        return self.keys.shard_of(run)

    def by_shard(self, actions: Iterable[ActionId]) -> dict[int, list[ActionId]]:
        """Group actions by shard, in the order given."""
        groups: dict[int, list[ActionId]] = {}
        for action in actions:
            groups.setdefault(self.shard_of(action.run_id), []).append(action)
        return groups

    def where(self, action: ActionId) -> tuple[str, str]:
        """Name the due key and the base of an action's shard: first key and first argument of every script."""
        shard = self.shard_of(action.run_id)
        return self.keys.due(shard), self.keys.base(shard)

    def decode(
        self, action: ActionId, fields: Mapping[bytes, bytes], children: Children | None = None, now: int = 0
    ) -> TaskAction:
        """Make a record of its fields, with the shared part of its spec."""
        return records.decode(action, fields, self.shared(action.run_id, fields[b"h"]), children, now)

    def shared(self, run: RunId, name: bytes) -> Mapping[str, Any]:
        """Return a shared spec, not to be changed. It is named by its content, so every process reads each one once."""
        digest = shared_digest(name)
        found = self._shared.get(digest)
        return found if found is not None else self.fetch_shared([(run, name)]).get(digest, {})

    def fetch_shared(self, wanted: Iterable[tuple[RunId, bytes]]) -> dict[bytes, Mapping[str, Any]]:
        """Read the shared specs of a batch that are not known yet, in one round trip; return those read, by digest."""
        known, digest = self._shared, shared_digest
        missing = {digest(name): (run, name) for run, name in wanted if known.get(digest(name)) is None}
        if not missing:
            return {}
        pipe = self.client.pipeline(transaction=False)
        for run, name in missing.values():
            self.ask_part(pipe, run, name)
        answers = pipe.execute()
        found = zip(missing.items(), answers[::2], answers[1::2], strict=True)
        return {
            d: self.remember_shared(run, name, part or of_run)
            for (d, (run, name)), part, of_run in found
            if part or of_run
        }

    def ask_part(self, pipe: Pipeline, run: RunId, name: bytes) -> None:
        """Ask for a shared spec at both places: that of all runs, and that of a run which an earlier release began."""
        pipe.hget(self.keys.parts(self.shard_of(run)), shared_digest(name).decode())
        pipe.hget(self.keys.shared(run), name.decode())

    def remember_shared(self, run: RunId, name: bytes, data: bytes) -> Mapping[str, Any]:
        """Keep a shared spec for all runs that have an equal one; the oldest one makes room."""
        shared: Mapping[str, Any] = decode_shared(data, run, name)
        return self._shared.keep(shared_digest(name), shared, _OVERHEAD + len(data))

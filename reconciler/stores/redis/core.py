"""What the parts of the Redis store share: client, keys, scripts and the cache of shared specs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Any

import msgspec
import redis

from reconciler.api.action import ActionId, Children, RunId, TaskAction
from reconciler.settings import Settings
from reconciler.stores import records
from reconciler.stores.redis.connect import connect
from reconciler.stores.redis.keys import Keys

_SHARED_CACHE = 4096


def open_json(value: msgspec.Struct) -> bytes:
    """JSON of a record without its closing brace, for scripts to append the store's own time."""
    return records.encode_json(value)[:-1]


def pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """A flat list of field, value, field, value … as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


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
        self._shared: OrderedDict[bytes, dict[str, Any]] = OrderedDict()
        self._shared_lock = Lock()

    def shard_of(self, run: RunId) -> int:
        """The shard all keys of a run lie in."""
        return self.keys.shard_of(run)

    def by_shard(self, actions: Iterable[ActionId]) -> dict[int, list[ActionId]]:
        """Actions grouped by shard, in the order given."""
        groups: dict[int, list[ActionId]] = {}
        for action in actions:
            groups.setdefault(self.shard_of(action.run_id), []).append(action)
        return groups

    def where(self, action: ActionId) -> tuple[str, str]:
        """Due key and base of an action's shard: first key and first argument of every script."""
        shard = self.shard_of(action.run_id)
        return self.keys.due(shard), self.keys.base(shard)

    def decode(
        self, action: ActionId, fields: Mapping[bytes, bytes], children: Children | None = None, now: int = 0
    ) -> TaskAction:
        """A record from its fields, with the shared part of its spec."""
        return records.decode(action, fields, self.shared(action.run_id, fields[b"h"]), children, now)

    def shared(self, run: RunId, name: bytes) -> dict[str, Any]:
        """A shared spec: named by its content, so every process reads each one once."""
        if records.shared_digest(name) not in self._shared:
            self.fetch_shared([(run, name)])
        return self._shared.get(records.shared_digest(name), {})

    def fetch_shared(self, wanted: Iterable[tuple[RunId, bytes]]) -> None:
        """Read the shared specs of a batch that are not known yet, in one round trip."""
        known, digest = self._shared, records.shared_digest
        missing = {digest(name): (run, name) for run, name in wanted if digest(name) not in known}
        if not missing:
            return
        pipe = self.client.pipeline(transaction=False)
        for run, name in missing.values():
            pipe.hget(self.keys.shared(run), name.decode())
        for (run, name), data in zip(missing.values(), pipe.execute(), strict=True):
            if data:
                self.remember_shared(run, name, data)

    def remember_shared(self, run: RunId, name: bytes, data: bytes) -> None:
        """Keep a shared spec, for all runs that have an equal one; the oldest one makes room."""
        shared = records.decode_shared(data, run, name)
        with self._shared_lock:
            self._shared[records.shared_digest(name)] = shared
            if len(self._shared) > _SHARED_CACHE:
                self._shared.popitem(last=False)

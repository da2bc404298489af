"""Quotas on Redis: units are leased to tokens, by Redis's clock, one script per verb (R70)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import redis

from reconciler.api.action import ActionId
from reconciler.core.holders import Place
from reconciler.settings import Settings
from reconciler.stores.quotas import (
    NO_CAPS,
    Allocation,
    Answer,
    Constraints,
    Holder,
    QuotaBook,
    holders_of,
    owner_of,
)
from reconciler.stores.redis.connect import connect, explain
from reconciler.stores.redis.keys import Keys
from reconciler.stores.redis.scripts import script

_ALLOCATIONS = tuple(Allocation)
_IN_USE = -1
_TOLD = 1000
"""Units whose holders are told."""


class RedisQuotas(QuotaBook):
    """The resource manager of an installation. Safe to share by threads, and on both sides of a fork.

    Each method raises `StoreUnavailable` when the server does not answer.
    """

    id = "redis-quotas"

    def __init__(self, settings: Settings, client: redis.Redis | None = None) -> None:
        super().__init__(settings.quota_lease)
        self.url = settings.redis_url
        self._client = client if client is not None else connect(settings)
        self._keys = Keys(settings.key_prefix, settings.shards)

    @explain
    def allocate(
        self,
        namespace: str,
        token: str,
        owner: ActionId,
        constraints: Constraints = NO_CAPS,
        units: int = 1,
    ) -> Answer:
        return self._ask(namespace, token, owner, constraints, units, self.quota_for(namespace, units))

    @explain
    def renew(self, namespace: str, token: str, owner: ActionId, units: int = 1) -> None:
        self._ask(namespace, token, owner, NO_CAPS, units, _IN_USE)

    @explain
    def release(self, namespace: str, token: str) -> tuple[ActionId, ...]:
        quota = self.quota_or_none(namespace)
        key, base = self._keys.quota_held(namespace), self._keys.quota(namespace)
        paths = script("release")(self._client, key, base, token, -1 if quota is None else quota)
        return tuple(owner_of(path.decode()) for path in dict.fromkeys(paths))

    @explain
    def holders(self, namespace: str) -> tuple[Holder, ...]:
        seconds, micros = self._client.time()
        now = seconds * 1000 + micros // 1000
        held: Any = self._client.zrangebyscore(self._keys.quota_held(namespace), f"({now}", "+inf", 0, _TOLD)
        units = Counter(unit.partition(b":")[2] for unit in held)
        owners: Any = self._client.hmget(self._keys.quota(namespace) + "owners", list(units)) if units else []
        found = zip(owners, units.values(), strict=True)
        return holders_of((owner_of(owner.partition(b" ")[2].decode()), n) for owner, n in found if owner)

    @explain
    def place(self, namespace: str, token: str) -> Place | None:
        base = self._keys.quota(namespace)
        for line in (base + "waiting", base + "capped"):
            rank: Any = self._client.zrank(line, token)
            if rank is not None:
                waiting: Any = self._client.zcard(line)
                return Place(rank, max(waiting - rank - 1, 0))
        return None

    def _ask(
        self, namespace: str, token: str, owner: ActionId, constraints: Constraints, units: int, quota: int
    ) -> Answer:
        caps = (constraints.project_scope, constraints.namespace_scope)
        outcome, again = script("allocate")(
            self._client,
            self._keys.quota_held(namespace),
            self._keys.quota(namespace),
            *(token, str(owner), units, quota, self.lease, self.patience),
            *(-1 if cap is None else cap for cap in caps),
        )
        return Answer(_ALLOCATIONS[outcome], int(again))

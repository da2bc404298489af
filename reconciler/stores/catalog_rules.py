"""The rules that both catalogs follow: what may be stored, for how long, and what a refusal says (R51)."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from reconciler.api.errors import InvalidInput, Superseded
from reconciler.api.transition import OutputRef
from reconciler.settings import Settings
from reconciler.stores.catalog import CacheKey, CatalogCorrupt, CatalogExists, CatalogMiss

_MAX_HEARTBEAT = 10_000
_GRACE = 3
TOKEN_MEMORY = 86_400_000
"""How long a key remembers its newest token after the last lease, ms. Tokens follow the clock, so none comes twice."""


class CacheLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits an installation sets its catalog, in ms.

    Attributes:
        retention: how long an entry is kept; 0 = for ever.
        max_age: oldest entry that is served; 0 = any.
        max_heartbeat: longest heartbeat of a reservation.
        grace: heartbeats that fit into a lease.
    """

    retention: int
    max_age: int
    max_heartbeat: int
    grace: int

    @classmethod
    def of(cls, settings: Settings) -> CacheLimits:
        """Read the limits in force; heartbeat and grace that are not positive fall back to 10 s and 3 (R51).

        An owner comes back once per requeue duration, so no shorter heartbeat is ever forced on it: raising the one
        setting cannot end leases that are in use (R51).
        """
        longest = _ms(settings.cache_max_heartbeat)
        return cls(
            retention=_ms(settings.cache_retention),
            max_age=_ms(settings.cache_max_age),
            max_heartbeat=max(longest if longest > 0 else _MAX_HEARTBEAT, _ms(settings.effective_requeue())),
            grace=settings.cache_heartbeat_grace if settings.cache_heartbeat_grace > 0 else _GRACE,
        )

    def heartbeat(self, asked: int) -> int:
        """Grant the heartbeat that was asked for; the longest when none was (R51)."""
        return min(asked, self.max_heartbeat) if asked > 0 else self.max_heartbeat

    def stale(self, updated_at: int, now: int) -> bool:
        """Tell whether an entry is too old to be served."""
        return bool(self.max_age) and now - updated_at > self.max_age


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


def check_put(key: CacheKey, outputs: OutputRef) -> OutputRef:
    """Return what an entry keeps of outputs: only the reference, since S3 is the truth and Redis is small (R46).

    Raises:
        InvalidInput: the key or the URI is empty.
    """
    key.checked()
    if not outputs.uri:
        raise InvalidInput("a catalog entry needs the URI of outputs: store them first")
    return msgspec.structs.replace(outputs, inline=None)


def check_owner(key: CacheKey, owner: str) -> None:
    """Refuse a reservation whose holder could not be named to others.

    Raises:
        InvalidInput: the key or the owner is empty.
    """
    key.checked()
    if not owner:
        raise InvalidInput("a reservation needs an owner: name the action that asks for it")


def missing(key: CacheKey) -> CatalogMiss:
    """Make the answer for a key without an entry."""
    return CatalogMiss(f"the catalog holds no entry for {key}")


def too_old(key: CacheKey) -> CatalogMiss:
    """Make the answer for an entry that is not served any more."""
    return CatalogMiss(f"the entry of {key} is older than RECONCILER_CACHE_MAX_AGE; a put replaces it")


def filled(key: CacheKey) -> CatalogExists:
    """Make the answer to a put that lost."""
    return CatalogExists(f"{key} was filled before; the entry stands")


def corrupt(key: CacheKey, problem: object) -> CatalogCorrupt:
    """Make the answer for an entry that cannot be read."""
    return CatalogCorrupt(f"the entry of {key} cannot be read ({problem}); the next put replaces it")


def superseded(key: CacheKey) -> Superseded:
    """Make the answer to a put under a reservation that was lost (R51)."""
    return Superseded(f"the reservation of {key} went to a newer owner, who fills the key")

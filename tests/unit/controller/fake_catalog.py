"""A catalog in memory, kept by the rules of the cache: entries, reservations, fencing (R46, R51)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from reconciler.api.errors import InvalidInput, Superseded
from reconciler.api.transition import OutputRef
from reconciler.stores.catalog import (
    CacheEntry,
    CacheKey,
    CacheSource,
    CatalogExists,
    CatalogMiss,
    Reservation,
)
from reconciler.stores.objects import BlobStore

MAX_HEARTBEAT = 10_000
GRACE_MULTIPLIER = 3


class FakeCatalog:
    """Implements `reconciler.stores.catalog.Catalog`.

    Args:
        clock: the time, ms since the epoch.
        blobs: where outputs lie; an entry whose object is gone is a miss. None: nobody looks.
        max_age: oldest usable entry, ms; 0 = any.

    Attributes:
        entries, reservations: what is stored, by the text of the key.
        waiting: owners that were refused a reservation, by the text of the key.
        broken: verb → the error it raises instead of answering.
    """

    def __init__(self, clock: Callable[[], int], blobs: BlobStore | None = None, *, max_age: int = 0) -> None:
        self._clock = clock
        self.blobs = blobs
        self._max_age = max_age
        self._tokens = 0
        self.entries: dict[str, CacheEntry] = {}
        self.reservations: dict[str, Reservation] = {}
        self.waiting: dict[str, dict[str, None]] = {}
        self.broken: dict[str, Exception] = {}

    def get(self, key: CacheKey) -> CacheEntry:
        """Return the entry of a key (R50)."""
        self._break("get")
        entry = self.entries.get(_name(key))
        if entry is None:
            raise CatalogMiss(f"{key} is not stored")
        if self._stale(entry):
            raise CatalogMiss(f"{key} is over its age limit")
        if self.blobs is not None and self.blobs.stat(entry.outputs.uri) is None:
            raise CatalogMiss(f"the outputs of {key} are gone")
        return entry

    def put(
        self,
        key: CacheKey,
        outputs: OutputRef,
        source: CacheSource,
        *,
        token: int = 0,
        replace: bool = False,
    ) -> tuple[str, ...]:
        """Store a reference (R46); nothing is overwritten unless asked for."""
        self._break("put")
        if not outputs.uri:
            raise InvalidInput("an entry needs the URI of outputs")
        held = self._holder(key)
        if token and (held is None or held.token != token):
            raise Superseded(f"the reservation of {key} was lost")
        if _name(key) in self.entries and not replace:
            raise CatalogExists(f"{key} was filled before")
        self.entries[_name(key)] = CacheEntry(outputs=outputs, source=source, last_updated_at=self._clock())
        return tuple(self.waiting.pop(_name(key), {}))

    def delete(self, key: CacheKey) -> None:
        """Forget an entry (R46)."""
        if self.entries.pop(_name(key), None) is None:
            raise CatalogMiss(f"{key} is not stored")

    def get_or_extend_reservation(self, key: CacheKey, owner: str, heartbeat: int) -> Reservation:
        """Take, extend or look at the reservation of a key (R51)."""
        self._break("reserve")
        if not owner:
            raise InvalidInput("a reservation needs an owner")
        held = self._holder(key)
        if held is not None and held.owner != owner:
            self.waiting.setdefault(_name(key), {})[owner] = None
            return held
        self.waiting.get(_name(key), {}).pop(owner, None)
        if held is None:
            self._tokens += 1
        beat = min(heartbeat, MAX_HEARTBEAT) if heartbeat > 0 else MAX_HEARTBEAT
        mine = Reservation(
            owner=owner,
            token=held.token if held else self._tokens,
            expires_at=self._clock() + beat * GRACE_MULTIPLIER,
            heartbeat=beat,
        )
        self.reservations[_name(key)] = mine
        return mine

    def release_reservation(self, key: CacheKey, owner: str) -> tuple[str, ...]:
        """Give a reservation back; a missing or foreign one is left alone (R51)."""
        self._break("release")
        held = self.reservations.get(_name(key))
        self.waiting.get(_name(key), {}).pop(owner, None)
        if held is None or held.owner != owner:
            return ()
        del self.reservations[_name(key)]
        return tuple(self.waiting.pop(_name(key), {}))

    # -- what tests arrange ----------------------------------------------------------------------------------------
    def steal(self, owner: str = "somebody", lease: int = 60_000) -> None:
        """Give every reservation to another owner, as if the leases had ended."""
        for name in self.reservations:
            self._tokens += 1
            self.reservations[name] = Reservation(
                owner=owner, token=self._tokens, expires_at=self._clock() + lease
            )

    def fill(self, outputs: OutputRef, source: CacheSource | None = None) -> None:
        """Fill every key that is reserved, as its owner would."""
        entry = CacheEntry(
            outputs=outputs, source=source or CacheSource(run="earlier"), last_updated_at=self._clock()
        )
        for name in self.reservations:
            self.entries[name] = entry

    def point_to(self, outputs: OutputRef) -> None:
        """Let all entries refer to these outputs."""
        for name, entry in self.entries.items():
            self.entries[name] = msgspec.structs.replace(entry, outputs=outputs)

    def _stale(self, entry: CacheEntry) -> bool:
        return bool(self._max_age) and self._clock() - entry.last_updated_at > self._max_age

    def _holder(self, key: CacheKey) -> Reservation | None:
        held = self.reservations.get(_name(key))
        return held if held is not None and held.expires_at > self._clock() else None

    def _break(self, verb: str) -> None:
        if verb in self.broken:
            raise self.broken[verb]


def _name(key: CacheKey) -> str:
    if not key.key:
        raise InvalidInput("a cache key must not be empty")
    return str(key)

"""The in-memory catalog: the one to read, and the one of simulations and fast tests (R51)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.api.tokens import NO_RESERVATION, ReservationToken
from reconciler.api.transition import OutputRef
from reconciler.settings import Settings
from reconciler.stores.catalog import CacheEntry, CacheKey, CacheSource, Reservation
from reconciler.stores.catalog_rules import (
    CacheLimits,
    check_owner,
    check_put,
    filled,
    missing,
    superseded,
    too_old,
)


@dataclass
class _Slot:
    """Everything stored for one key; waiting actions are in the order in which they came."""

    entry: CacheEntry | None = None
    held: Reservation | None = None
    newest_token: ReservationToken = NO_RESERVATION
    waiting: dict[str, None] = field(default_factory=dict)

    def drain(self) -> tuple[str, ...]:
        """Take all waiting actions out, and return them."""
        waiting, self.waiting = tuple(self.waiting), {}
        return waiting


class MemoryCatalog:
    """Implements `reconciler.stores.catalog.Catalog` on dictionaries; threads may share it. Nothing is kept beyond it.

    Args:
        settings: limits; those of `Settings()` when not given.
        clock: the time, ms since the epoch; that of the system when not given.
    """

    def __init__(self, settings: Settings | None = None, *, clock: Callable[[], int] | None = None) -> None:
        self.limits = CacheLimits.of(settings or Settings())
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._lock = threading.Lock()
        self._slots: dict[str, _Slot] = {}

    def get(self, key: CacheKey) -> CacheEntry:
        with self._lock:
            entry = self._kept(self._slot(key), self._clock())
        if entry is None:
            raise missing(key)
        if self.limits.stale(entry.last_updated_at, self._clock()):
            raise too_old(key)
        return entry

    def put(
        self,
        key: CacheKey,
        outputs: OutputRef,
        source: CacheSource,
        *,
        token: ReservationToken = NO_RESERVATION,
        replace: bool = False,
    ) -> tuple[str, ...]:
        reference = check_put(key, outputs)
        with self._lock:
            now, slot = self._clock(), self._slot(key)
            held = slot.held is not None and slot.held.expires_at > now
            if token and (slot.newest_token > token or (held and slot.newest_token != token)):
                raise superseded(key)
            old = self._kept(slot, now)
            if old is not None and not replace and not self.limits.stale(old.last_updated_at, now):
                raise filled(key)
            slot.entry = CacheEntry(
                outputs=reference,
                source=source,
                created_at=source.created_at or (old.created_at if old else now),
                last_updated_at=now,
            )
            return slot.drain()

    def delete(self, key: CacheKey) -> None:
        with self._lock:
            slot = self._slot(key)
            if self._kept(slot, self._clock()) is None:
                raise missing(key)
            slot.entry = None

    def get_or_extend_reservation(self, key: CacheKey, owner: str, heartbeat: int) -> Reservation:
        check_owner(key, owner)
        beat = self.limits.heartbeat(heartbeat)
        with self._lock:
            now, slot = self._clock(), self._slot(key)
            held = slot.held
            if held is not None and held.owner != owner and held.expires_at > now:
                slot.waiting.setdefault(owner)
                return held
            if held is None or held.owner != owner:
                # a new holder outranks all before it; time goes on also where the counter is lost
                slot.newest_token = ReservationToken(max(slot.newest_token + 1, now))
            until = now + beat * self.limits.grace
            slot.held = Reservation(owner=owner, token=slot.newest_token, expires_at=until, heartbeat=beat)
            slot.waiting.pop(owner, None)
            return slot.held

    def release_reservation(self, key: CacheKey, owner: str) -> tuple[str, ...]:
        check_owner(key, owner)
        with self._lock:
            slot = self._slot(key)
            slot.waiting.pop(owner, None)
            if slot.held is None or slot.held.owner != owner:
                return ()
            slot.held = None
            if self._kept(slot, self._clock()) is not None:
                return slot.drain()
            # only one can have it next
            first = next(iter(slot.waiting), None)
            if first is None:
                return ()
            del slot.waiting[first]
            return (first,)

    def reserved(self) -> list[str]:
        """Return who holds a reservation now."""
        with self._lock:
            now = self._clock()
            held = [slot.held for slot in self._slots.values()]
            return [found.owner for found in held if found is not None and found.expires_at > now]

    def _slot(self, key: CacheKey) -> _Slot:
        return self._slots.setdefault(key.checked().digest, _Slot())

    def _kept(self, slot: _Slot, now: int) -> CacheEntry | None:
        """Return the entry of a key while its retention lasts."""
        retention = self.limits.retention
        if slot.entry is not None and retention and now - slot.entry.last_updated_at >= retention:
            slot.entry = None
        return slot.entry

"""Oracles beside catalog and quotas: who holds what, by the promises alone."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.api.action import ActionId
from reconciler.api.transition import OutputRef
from reconciler.stores.catalog import CacheEntry, CacheKey, CacheSource, Reservation
from reconciler.stores.memory.catalog import MemoryCatalog
from reconciler.stores.memory.quotas import MemoryQuotas
from reconciler.stores.quotas import NO_CAPS, Allocation, Answer, Constraints
from tests.simulation.checker import Violation


class Reservations:
    """A catalog that checks each answer of the twin it asks.

    Attributes:
        filled: entries of each key, oldest first.
    """

    def __init__(self, twin: MemoryCatalog, clock: Callable[[], int]) -> None:
        self._twin = twin
        self._clock = clock
        self._held: dict[CacheKey, Reservation] = {}
        self.filled: dict[CacheKey, list[CacheSource]] = {}

    def get(self, key: CacheKey) -> CacheEntry:
        """See `Catalog.get`."""
        return self._twin.get(key)

    def put(
        self, key: CacheKey, outputs: OutputRef, source: CacheSource, *, token: int = 0, replace: bool = False
    ) -> tuple[str, ...]:
        """See `Catalog.put`; nobody fills a key somebody else has reserved."""
        waiting = self._twin.put(key, outputs, source, token=token, replace=replace)
        holder = self._holder(key)
        if token and holder is not None and holder.token != token:
            raise Violation(
                f"{source.action} of {source.run} filled {key}, which {holder.owner} has reserved"
            )
        self.filled.setdefault(key, []).append(source)
        return waiting

    def get_or_extend_reservation(self, key: CacheKey, owner: str, heartbeat: int) -> Reservation:
        """See `Catalog.get_or_extend_reservation`; nobody gets what somebody else holds."""
        before = self._holder(key)
        answer = self._twin.get_or_extend_reservation(key, owner, heartbeat)
        if before is not None and answer.owner != before.owner:
            raise Violation(f"{key} is reserved by {before.owner} and was given to {answer.owner}")
        if before is not None and answer.token != before.token:
            raise Violation(f"{before.owner} extended {key} and got another token")
        self._held[key] = answer
        return answer

    def release_reservation(self, key: CacheKey, owner: str) -> tuple[str, ...]:
        """See `Catalog.release_reservation`."""
        holder = self._held.get(key)
        if holder is not None and holder.owner == owner:
            del self._held[key]
        return self._twin.release_reservation(key, owner)

    def _holder(self, key: CacheKey) -> Reservation | None:
        held = self._held.get(key)
        return held if held is not None and held.expires_at > self._clock() else None


class Units(MemoryQuotas):
    """Quotas that are never given out twice, whatever is renewed."""

    def allocate(
        self, namespace: str, token: str, owner: ActionId, constraints: Constraints = NO_CAPS, units: int = 1
    ) -> Answer:
        """See `ResourceManager.allocate`."""
        before = self._in_use(namespace)
        answer = super().allocate(namespace, token, owner, constraints, units)
        if answer.allocation is Allocation.GRANTED and token not in before:
            used = sum(self._in_use(namespace).values())
            if used > self.quota_for(namespace, units):
                raise Violation(f"{owner} was given {units} of {namespace}, of which {used} are in use now")
        return answer

    def _in_use(self, namespace: str) -> dict[str, int]:
        """Return units by token."""
        resource, now = self._resources.get(namespace), self._clock()
        requests = resource.requests if resource is not None else {}
        return {
            token: request.units
            for token, request in requests.items()
            if request.held and request.until > now
        }

"""Quotas in memory, the twin of those on Redis: the same rules on dictionaries, to be read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from reconciler.api.action import ActionId
from reconciler.core.holders import Place
from reconciler.stores.quotas import NO_CAPS, Allocation, Answer, Constraints, Holder, QuotaBook, holders_of


@dataclass
class _Request:
    """The units that one allocation token holds or waits for.

    Attributes:
        owner: the action.
        units: how many.
        until: end of its lease, or of its place in line.
        held: whether it was granted.
        capped: whether it waits for room below a cap instead of in line.
        since: when it first asked.
    """

    owner: ActionId
    units: int
    until: int
    held: bool = False
    capped: bool = False
    since: int = 0


@dataclass
class _Resource:
    requests: dict[str, _Request] = field(default_factory=dict)

    def holders(self) -> Iterator[_Request]:
        return (request for request in self.requests.values() if request.held)

    def line(self, *, capped: bool) -> list[tuple[str, _Request]]:
        """List the waiting tokens, the longest waiting first; of two that came at once, by name."""
        found = [(t, r) for t, r in self.requests.items() if not r.held and r.capped is capped]
        return sorted(found, key=lambda item: (item[1].since, item[0]))

    def free(self, quota: int) -> int:
        return quota - sum(request.units for request in self.holders())

    def drop_expired(self, now: int) -> None:
        self.requests = {token: request for token, request in self.requests.items() if request.until > now}

    def over_cap(self, owner: ActionId, units: int, caps: Constraints) -> bool:
        project = [r for r in self.holders() if r.owner.project == owner.project]
        domain = [r for r in project if r.owner.domain == owner.domain]
        return any(
            cap is not None and sum(r.units for r in found) + units > cap
            for cap, found in ((caps.project_scope, project), (caps.namespace_scope, domain))
        )


class MemoryQuotas(QuotaBook):
    """The resource manager of tests and simulations; one process, time as the given clock says."""

    id = "memory-quotas"

    def __init__(
        self, *, clock: Callable[[], int] | None = None, lease: timedelta = timedelta(seconds=60)
    ) -> None:
        super().__init__(lease)
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._resources: dict[str, _Resource] = {}
        self._lock = threading.RLock()

    def allocate(
        self,
        namespace: str,
        token: str,
        owner: ActionId,
        constraints: Constraints = NO_CAPS,
        units: int = 1,
    ) -> Answer:
        quota = self.quota_for(namespace, units)
        with self._lock:
            now, resource = self._clock(), self._resources.setdefault(namespace, _Resource())
            resource.drop_expired(now)
            request = resource.requests.setdefault(token, _Request(owner, units, 0, since=now))
            if not request.held:
                request.until, request.capped = (
                    now + self.patience,
                    resource.over_cap(owner, units, constraints),
                )
                if request.capped:
                    return Answer(Allocation.NAMESPACE_QUOTA_EXCEEDED, now + self.lease)
                line = [other for _, other in resource.line(capped=False)]
                before = line[: line.index(request)]
                if resource.free(quota) - sum(other.units for other in before) < units:
                    return Answer(Allocation.EXHAUSTED, self._again(resource, len(before), quota, now))
            request.held, request.until = True, now + self.lease
            return Answer(Allocation.GRANTED)

    def _again(self, resource: _Resource, before: int, quota: int, now: int) -> int:
        """Choose when to ask again: for the next in line as soon as a lease may run out, for the others later."""
        ends = [request.until + 1 for request in resource.holders()] if before < quota else []
        return min([*ends, now + self.lease])

    def renew(self, namespace: str, token: str, owner: ActionId, units: int = 1) -> None:
        with self._lock:
            now, resource = self._clock(), self._resources.setdefault(namespace, _Resource())
            resource.drop_expired(now)
            request = resource.requests.setdefault(token, _Request(owner, units, 0, since=now))
            request.held, request.until = True, now + self.lease

    def release(self, namespace: str, token: str) -> tuple[ActionId, ...]:
        with self._lock:
            now, resource = self._clock(), self._resources.setdefault(namespace, _Resource())
            gone = resource.requests.pop(token, None)
            if gone is None:
                return ()
            resource.drop_expired(now)
            quota = self.quota_or_none(namespace)
            free = gone.units if quota is None else resource.free(quota)
            wake: list[ActionId] = []
            for _, request in resource.line(capped=False):
                free -= request.units
                if free < 0:
                    break
                wake.append(request.owner)
            same = [r.owner for _, r in resource.line(capped=True) if r.owner.project == gone.owner.project]
            return tuple(dict.fromkeys(wake + same[: gone.units if gone.held else 0]))

    def holders(self, namespace: str) -> tuple[Holder, ...]:
        with self._lock:
            now, resource = self._clock(), self._resources.get(namespace, _Resource())
            return holders_of((one.owner, one.units) for one in resource.holders() if one.until > now)

    def place(self, namespace: str, token: str) -> Place | None:
        with self._lock:
            resource = self._resources.get(namespace, _Resource())
            request = resource.requests.get(token)
            if request is None or request.held:
                return None
            names = [name for name, _ in resource.line(capped=request.capped)]
            before = names.index(token)
            return Place(before, len(names) - before - 1)

    def held(self) -> list[str]:
        """List the allocation tokens that hold units now."""
        with self._lock:
            now = self._clock()
            requests = [item for resource in self._resources.values() for item in resource.requests.items()]
            return [token for token, request in requests if request.held and request.until > now]

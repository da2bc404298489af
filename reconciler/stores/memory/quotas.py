"""The twin of the quotas: the same rules on dictionaries, to be read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from reconciler.api.action import ActionId
from reconciler.stores.quotas import NO_CAPS, Allocation, Answer, Constraints, QuotaBook


@dataclass
class _Wish:
    """A token with what it holds or waits for.

    Attributes:
        owner: the action.
        units: how many.
        until: end of its lease, or of its patience in line.
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
    wishes: dict[str, _Wish] = field(default_factory=dict)

    def holders(self) -> Iterator[_Wish]:
        return (wish for wish in self.wishes.values() if wish.held)

    def line(self, *, capped: bool) -> list[tuple[str, _Wish]]:
        """Tell who waits, longest first; of two that came at once, by token."""
        found = [(t, w) for t, w in self.wishes.items() if not w.held and w.capped is capped]
        return sorted(found, key=lambda item: (item[1].since, item[0]))

    def free(self, quota: int) -> int:
        return quota - sum(wish.units for wish in self.holders())

    def drop_expired(self, now: int) -> None:
        self.wishes = {token: wish for token, wish in self.wishes.items() if wish.until > now}

    def over_cap(self, owner: ActionId, units: int, caps: Constraints) -> bool:
        project = [w for w in self.holders() if w.owner.project == owner.project]
        domain = [w for w in project if w.owner.domain == owner.domain]
        return any(
            cap is not None and sum(w.units for w in found) + units > cap
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
            wish = resource.wishes.setdefault(token, _Wish(owner, units, 0, since=now))
            if not wish.held:
                wish.until, wish.capped = now + self.patience, resource.over_cap(owner, units, constraints)
                if wish.capped:
                    return Answer(Allocation.NAMESPACE_QUOTA_EXCEEDED, now + self.lease)
                line = [other for _, other in resource.line(capped=False)]
                before = line[: line.index(wish)]
                if resource.free(quota) - sum(other.units for other in before) < units:
                    return Answer(Allocation.EXHAUSTED, self._again(resource, len(before), quota, now))
            wish.held, wish.until = True, now + self.lease
            return Answer(Allocation.GRANTED)

    def _again(self, resource: _Resource, before: int, quota: int, now: int) -> int:
        """Those next in line look as soon as a lease may run out; the others have time."""
        ends = [wish.until + 1 for wish in resource.holders()] if before < quota else []
        return min([*ends, now + self.lease])

    def renew(self, namespace: str, token: str, owner: ActionId, units: int = 1) -> None:
        with self._lock:
            now, resource = self._clock(), self._resources.setdefault(namespace, _Resource())
            resource.drop_expired(now)
            wish = resource.wishes.setdefault(token, _Wish(owner, units, 0, since=now))
            wish.held, wish.until = True, now + self.lease

    def release(self, namespace: str, token: str) -> tuple[ActionId, ...]:
        with self._lock:
            now, resource = self._clock(), self._resources.setdefault(namespace, _Resource())
            gone = resource.wishes.pop(token, None)
            if gone is None:
                return ()
            resource.drop_expired(now)
            quota = self.quota_or_none(namespace)
            free = gone.units if quota is None else resource.free(quota)
            wake: list[ActionId] = []
            for _, wish in resource.line(capped=False):
                free -= wish.units
                if free < 0:
                    break
                wake.append(wish.owner)
            same = [w.owner for _, w in resource.line(capped=True) if w.owner.project == gone.owner.project]
            return tuple(dict.fromkeys(wake + same[: gone.units if gone.held else 0]))

    def held(self) -> list[str]:
        """Tokens that hold units now."""
        with self._lock:
            now = self._clock()
            wishes = [item for resource in self._resources.values() for item in resource.wishes.items()]
            return [token for token, wish in wishes if wish.held and wish.until > now]

"""Quotas as both stores keep them: what may be asked, what is answered, and how many units there are (R70).

A unit is leased to a token, and a token belongs to an action. Nothing is counted that could be forgotten: what nobody renews
is free again when its lease ends (R37).
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Protocol

import msgspec

from reconciler.api.action import ActionId
from reconciler.api.errors import BadTaskSpecification, InvalidSpec, PluginError
from reconciler.api.resource import check_resource
from reconciler.core.holders import Place


class Allocation(enum.Enum):
    """The outcome of a request for units."""

    GRANTED = "Granted"
    EXHAUSTED = "Exhausted"
    """All units are leased, or others have waited longer."""
    NAMESPACE_QUOTA_EXCEEDED = "NamespaceQuotaExceeded"
    """The project, or the project in this domain, holds as many as it may."""
    UNKNOWN = "Unknown"
    """No quota is registered: said by `ctx.allocate`, which waits for one; a manager raises `QuotaUnknown`."""


class Constraints(msgspec.Struct, frozen=True):
    """Caps beside the quota, in units; None = no cap at that level.

    Attributes:
        project_scope: most units the owner's project may hold.
        namespace_scope: most units the owner's project may hold in the owner's domain.
    """

    project_scope: int | None = None
    namespace_scope: int | None = None


NO_CAPS = Constraints()


class Answer(msgspec.Struct, frozen=True):
    """The answer to a request for units. `look_at`: when to ask again at the latest (ms, UTC); 0 when granted."""

    allocation: Allocation
    look_at: int = 0


class Holder(msgspec.Struct, frozen=True):
    """An action that holds units of a resource."""

    action: ActionId
    units: int


class Holdings(Protocol):
    """The holders of the units of each resource, and the line for them, as both books tell."""

    def holders(self, namespace: str) -> tuple[Holder, ...]:
        """List who holds units now, by name; of very many units, those whose leases end first."""

    def place(self, namespace: str, token: str) -> Place | None:
        """Tell where a token stands that was not granted its units; None when it waits for none. For people.

        Who waits below a cap of its project stands in a line with others that do.
        """


class QuotaUnknown(PluginError):
    """Units were asked for of a resource for which no quota is registered."""

    code = "QuotaUnknown"

    @classmethod
    def of(cls, namespace: str) -> QuotaUnknown:
        """Make the error of one resource, with its remedy."""
        return cls(
            f'no quota is registered for the resource "{namespace}": name it in RECONCILER_QUOTAS of all workers, '
            f"as in {namespace}=4, and restart them"
        )


class QuotaBook:
    """Keeps how many units each resource has, as this process knows. Base of the two implementations.

    Attributes:
        lease: how long a unit stays leased without being renewed, ms.
        patience: how long a token keeps its place in line without asking again, ms.
    """

    def __init__(self, lease: timedelta) -> None:
        self.lease = int(lease.total_seconds() * 1000)
        self.patience = 3 * self.lease
        self._quotas: dict[str, int] = {}

    @property
    def resources(self) -> tuple[str, ...]:
        """The resources this process knows a quota of, sorted."""
        return tuple(sorted(self._quotas))

    def register_quota(self, namespace: str, quota: int) -> None:
        """Set how many units a resource has; setting it again changes the number.

        What is leased stays leased when the number shrinks. With 0 nothing is granted, everybody waits.

        Raises:
            InvalidSpec: the name breaks the rule of resources, or the number is negative.
        """
        check_resource(namespace)
        if quota < 0:
            raise InvalidSpec(f"the quota of {namespace!r} must not be negative, got {quota}")
        self._quotas[namespace] = quota

    def quota_for(self, namespace: str, units: int) -> int:
        """Return the quota that limits a request.

        Raises:
            QuotaUnknown: none is registered.
            BadTaskSpecification: no wait can ever satisfy the request.
        """
        quota = self._quotas.get(namespace)
        if quota is None:
            raise QuotaUnknown.of(namespace)
        if units < 1 or 0 < quota < units:
            raise BadTaskSpecification(
                f'{units} units of the resource "{namespace}" were asked for; from 1 to {quota} can be had'
            )
        return quota

    def quota_or_none(self, namespace: str) -> int | None:
        """Return the quota of a resource, if this process knows one."""
        return self._quotas.get(namespace)


def holders_of(owners: Iterable[tuple[ActionId, int]]) -> tuple[Holder, ...]:
    """Sum what each action holds; it may hold units by several tokens."""
    held: Counter[ActionId] = Counter()
    for action, units in owners:
        held[action] += units
    return tuple(Holder(action, held[action]) for action in sorted(held, key=str))


def owner_of(entry: str) -> ActionId:
    """Read the action that a path names."""
    return ActionId(*entry.split("/"))

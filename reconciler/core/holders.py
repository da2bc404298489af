"""Say of the units of a quota that an action waits for who holds them, and where in line it stands."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reconciler.api.action import TaskAction
from reconciler.api.resource import QuotaLease
from reconciler.core.counted import counted

_NAMED = 3
"""Most holders a sentence names."""


class Place(msgspec.Struct, frozen=True):
    """The place of a request among those that wait for units of a resource: how many are before it, and behind."""

    before: int
    behind: int


def wanted_of(record: TaskAction) -> QuotaLease | None:
    """Return the units of a quota that an action waits for; None when it waits for none."""
    return next((lease for lease in record.status.quota_leases if not lease.held), None)


def standing(place: Place | None) -> str:
    """Say where a request stands in line; empty when it is in none."""
    return (
        f"; {place.before or 'none'} before it in line, {place.behind or 'none'} behind it" if place else ""
    )


def held_by(holders: Sequence[str]) -> str:
    """Name who holds the units, by path; an empty one lies in a project the reader does not see, and is merely counted."""
    seen = [holder for holder in holders if holder]
    named, rest = seen[:_NAMED], len(holders) - len(seen[:_NAMED])
    if rest and named:
        named.append(counted(rest, "other"))
    elif rest:
        named.append(counted(rest, "action of another project", "actions of other projects"))
    return f"; held by {' and '.join(filter(None, (', '.join(named[:-1]), named[-1])))}" if named else ""

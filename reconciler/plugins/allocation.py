"""Turn a plugin's request for units of a resource into a lease of its action (R70)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler import metrics
from reconciler.api.resource import QuotaLease
from reconciler.api.tokens import AllocationToken
from reconciler.core.times import span
from reconciler.plugins.managers import Allocation, Answer, Constraints
from reconciler.stores.quotas import QuotaUnknown

if TYPE_CHECKING:
    from reconciler.plugins.context import TaskExecutionContext

_LOOK_FOR_QUOTA = 1_000
_LOOK_FOR_QUOTA_AT_MOST = 30_000
"""Between two looks for a quota that is not registered, ms: as long as it has been missing, between these."""


def allocate(
    ctx: TaskExecutionContext, token: AllocationToken, namespace: str, units: int, constraints: Constraints
) -> Answer:
    """Ask for units under an allocation token, as `TaskExecutionContext.allocate`. The record keeps it, granted or not."""
    present = ctx.action.status.quota_leases
    mine = next((t for t in present if (t.resource, t.token) == (namespace, token)), None)
    if mine is not None and mine.held:
        return Answer(Allocation.GRANTED)
    known = mine or QuotaLease(namespace, token, units, since=ctx.now)
    answer, missing = _answer(ctx, known, constraints)
    granted = answer.allocation is Allocation.GRANTED
    metrics.allocated(granted=granted, waited=(ctx.now - known.since) / 1000)
    lease = QuotaLease(namespace, token, units, granted, 0 if granted else known.since, missing)
    ctx.action.set_status(quota_leases=(*(t for t in present if t is not mine), lease))
    ctx.asked.append(lease)
    return answer


def _answer(ctx: TaskExecutionContext, lease: QuotaLease, constraints: Constraints) -> tuple[Answer, int]:
    """Ask the manager. Return its answer, and since when no quota is registered (ms; 0 = one is).

    Raises:
        QuotaUnknown: none has been for as long as the installation waits.
    """
    wanted = (lease.resource, lease.token, ctx.action.id, constraints, lease.units)
    try:
        return ctx.services.resource_manager.allocate(*wanted), 0
    except QuotaUnknown as error:
        since, patience = lease.missing_since or ctx.now, ctx.services.patience
        if ctx.now >= since + patience:
            raise QuotaUnknown(f"{error}. It waited {span(patience)} for one") from error
        look = ctx.now + min(max(ctx.now - since, _LOOK_FOR_QUOTA), _LOOK_FOR_QUOTA_AT_MOST)
        return Answer(Allocation.UNKNOWN, min(look, since + patience)), since


def why_waiting(namespace: str, allocation: Allocation) -> str:
    """Say what an action waits for if it was not granted units."""
    match allocation:
        case Allocation.UNKNOWN:
            return str(QuotaUnknown.of(namespace))
        case Allocation.EXHAUSTED:
            what = "the quota"
        case _:
            what = "the cap of its project"
    return f'{what} of the resource "{namespace}" is used up; waiting for it'

"""Turn a plugin's request for units of a resource into a token of its action (R70)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler import metrics
from reconciler.api.resource import QuotaToken
from reconciler.core.times import span
from reconciler.plugins.managers import Allocation, Answer, Constraints
from reconciler.stores.quotas import QuotaUnknown

if TYPE_CHECKING:
    from reconciler.plugins.context import TaskExecutionContext

_LOOK_FOR_QUOTA = 1_000
_LOOK_FOR_QUOTA_AT_MOST = 30_000
"""Between two looks for a quota that is not registered, ms: as long as it has been missing, between these."""


def allocate(
    ctx: TaskExecutionContext, name: str, namespace: str, units: int, constraints: Constraints
) -> Answer:
    """Ask for units under a token, as `TaskExecutionContext.allocate`; the record remembers it, granted or not."""
    present = ctx.action.status.tokens
    mine = next((t for t in present if (t.resource, t.token) == (namespace, name)), None)
    if mine is not None and mine.held:
        return Answer(Allocation.GRANTED)
    known = mine or QuotaToken(namespace, name, units, since=ctx.now)
    answer, missing = _answer(ctx, known, constraints)
    granted = answer.allocation is Allocation.GRANTED
    metrics.allocated(granted=granted, waited=(ctx.now - known.since) / 1000)
    token = QuotaToken(namespace, name, units, granted, 0 if granted else known.since, missing)
    ctx.action.set_status(tokens=(*(t for t in present if t is not mine), token))
    ctx.asked.append(token)
    return answer


def _answer(ctx: TaskExecutionContext, token: QuotaToken, constraints: Constraints) -> tuple[Answer, int]:
    """Ask the manager; its answer, and since when no quota is registered; 0 = one is.

    Raises:
        QuotaUnknown: none has been for as long as the installation waits.
    """
    wanted = (token.resource, token.token, ctx.action.id, constraints, token.units)
    try:
        return ctx.services.resource_manager.allocate(*wanted), 0
    except QuotaUnknown as error:
        since, patience = token.missing_since or ctx.now, ctx.services.patience
        if ctx.now >= since + patience:
            raise QuotaUnknown(f"{error}. It waited {span(patience)} for one") from error
        look = ctx.now + min(max(ctx.now - since, _LOOK_FOR_QUOTA), _LOOK_FOR_QUOTA_AT_MOST)
        return Answer(Allocation.UNKNOWN, min(look, since + patience)), since


def why_waiting(namespace: str, allocation: Allocation) -> str:
    """Tell what an action waits for that was not granted units."""
    match allocation:
        case Allocation.UNKNOWN:
            return str(QuotaUnknown.of(namespace))
        case Allocation.EXHAUSTED:
            what = "the quota"
        case _:
            what = "the cap of its project"
    return f'{what} of the resource "{namespace}" is used up; waiting for it'

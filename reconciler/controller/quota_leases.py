"""Leases of quota units: renewed while an action holds them, released once its record drops them (R70, R37)."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from reconciler import metrics
from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import Unavailable
from reconciler.api.resource import QuotaLease
from reconciler.plugins.managers import ResourceManager
from reconciler.stores.base import Store, Write

log = structlog.get_logger(__name__)


def renew(manager: ResourceManager, action: TaskAction, before: TaskAction, due: int, lease: int) -> int:
    """Renew the leases of an action under its claim, and look again before they end.

    Args:
        manager: the quotas.
        action: the record after the round.
        before: the record as it was claimed; what was granted in this round needs no renewal.
        due: when the round wants to look again, 0 = never.
        lease: length of a lease, ms.

    Returns:
        When to look again: two further looks may fail before a lease ends.

    Raises:
        StoreUnavailable: the store does not answer, and the action goes on.
    """
    held = [units for units in action.status.quota_leases if units.held]
    if not held:
        return due
    for units in held:
        if units in before.status.quota_leases:
            _renew(manager, action, units)
    look = action.now + lease // 3
    return min(due, look) if due else look


def _renew(manager: ResourceManager, action: TaskAction, held: QuotaLease) -> None:
    try:
        manager.renew(held.resource, held.token, action.id, held.units)
    except Exception as error:
        if isinstance(error, Unavailable) and not action.is_terminal:
            raise
        # a resource manager may raise anything; it keeps no action from ending
        log.warning("quota.not_renewed", action=str(action.id), error=str(error))


def give_back(manager: ResourceManager, store: Store, writes: Iterable[Write]) -> tuple[int, ...]:
    """Release what accepted writes dropped, and make actions due that may get it; return the shards to message.

    Never fails: what is not given back is free when its lease ends.
    """
    waiting: list[ActionId] = []
    for write in writes:
        before = (*write.original.status.quota_leases, *write.asked)
        kept = {(one.resource, one.token) for one in write.action.status.quota_leases} if before else set()
        try:
            for one in before:
                if (one.resource, one.token) not in kept:
                    waiting += manager.release(one.resource, one.token)
                    metrics.released(given_back=True)
        except Exception as error:  # noqa: BLE001  # a resource manager may raise anything
            metrics.released(given_back=False)
            log.warning("quota.not_released", action=str(write.action.id), error=str(error))
    if not waiting:
        return ()
    try:
        return store.wake(dict.fromkeys(waiting))
    except Exception as error:  # noqa: BLE001  # whom a resource manager names may be anything
        log.warning("quota.not_woken", count=len(waiting), error=str(error))
        return ()

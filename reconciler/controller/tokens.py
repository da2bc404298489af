"""Units of quotas that actions hold: renewed while they do, given back once the record says they do not (R70, R37)."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from reconciler import metrics
from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import Unavailable
from reconciler.api.resource import QuotaToken
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
    held = [token for token in action.status.tokens if token.held]
    if not held:
        return due
    for token in held:
        if token in before.status.tokens:
            _renew(manager, action, token)
    look = action.now + lease // 3
    return min(due, look) if due else look


def _renew(manager: ResourceManager, action: TaskAction, token: QuotaToken) -> None:
    try:
        manager.renew(token.resource, token.token, action.id, token.units)
    except Exception as error:
        if isinstance(error, Unavailable) and not action.is_terminal:
            raise
        # a resource manager may raise anything; it keeps no action from ending
        log.warning("quota.not_renewed", action=str(action.id), error=str(error))


def give_back(manager: ResourceManager, store: Store, writes: Iterable[Write]) -> tuple[int, ...]:
    """Give back what accepted writes dropped, and make those due who may get it; returns shards to message.

    Never fails: what is not given back is free when its lease ends.
    """
    waiting: list[ActionId] = []
    for write in writes:
        before = (*write.original.status.tokens, *write.asked)
        kept = {(token.resource, token.token) for token in write.action.status.tokens} if before else set()
        try:
            for token in before:
                if (token.resource, token.token) not in kept:
                    waiting += manager.release(token.resource, token.token)
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

"""Who waits for a cache key is woken when it is filled or given back, instead of polling (R9)."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from reconciler.api.action import ActionId
from reconciler.api.errors import InvalidName
from reconciler.controller.dependencies import Dependencies

log = structlog.get_logger(__name__)

_AT_ONCE = 1000
"""Actions one script call makes due, so that Redis is never blocked for long."""


def wake_waiters(deps: Dependencies, owners: Iterable[str]) -> None:
    """Make those who wait for a key due now, and send the wake-ups. Whoever is not reached looks by itself.

    Args:
        deps: the store, and how to send.
        owners: as the catalog names them, `<namespace>/<action>@<incarnation>`; others are no actions, and nobody's to wake.
    """
    count = 0
    try:
        waiting = [action for owner in owners if (action := _action_of(owner)) is not None]
        count = len(waiting)
        for start in range(0, len(waiting), _AT_ONCE):
            for shard in deps.store.wake(waiting[start : start + _AT_ONCE]):
                deps.announce(shard)
    except Exception as error:  # noqa: BLE001  # whatever a catalog names as owners; they look by themselves
        log.warning("cache.waiters_not_woken", count=count, error=str(error))


def _action_of(owner: str) -> ActionId | None:
    try:
        return ActionId.parse(owner.partition("/")[2].partition("@")[0])
    except InvalidName:
        return None

"""Drop holds whose holder is gone (R42): what it pointed to may go, too.

A hold is written before its holder; until its time has passed it needs none (`reconciler.stores.holds`).
"""

from __future__ import annotations

from reconciler.stores.base import Store

SKEW = 60_000
"""How far the clocks of two servers of records may differ, ms: the hold lies on one, its holder is stored on another."""


def drop_holds(store: Store, shard: int) -> None:
    """Drop the holds of a shard that are over and have no holder.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    before = store.now() - SKEW
    over = [hold for hold in store.holds(shard) if hold.until < before]
    store.let_go(shard, [hold for hold in over if store.counts(hold.holder) is None])

"""Drop holds whose holder is gone (R42), so that the objects it pointed to may go, too.

A hold is written before its holder; until its time has passed it needs none (`reconciler.stores.holds`). A holder that only
the archive remembers is still there: whoever reads it there reads the objects it points to.
"""

from __future__ import annotations

import structlog

from reconciler.api.errors import BlobUnavailable
from reconciler.archive.archive import Archive
from reconciler.stores.base import Store

log = structlog.get_logger(__name__)
SKEW = 60_000
"""How far the clocks of two servers of records may differ, ms: the hold lies on one, its holder is stored on another."""


def drop_holds(store: Store, shard: int, archive: Archive | None = None) -> None:
    """Drop the holds of a shard that have run out and whose holder is neither stored nor archived.

    Args:
        store: the records.
        shard: whose holds.
        archive: of the installation; None: it has none. A request for each holder that is stored no more.
    """
    before = store.now() - SKEW
    over = [hold for hold in store.holds(shard) if hold.until < before]
    gone = [hold for hold in over if store.counts(hold.holder) is None]
    try:
        store.let_go(
            shard, [hold for hold in gone if archive is None or not archive.incarnations(hold.holder)]
        )
    except BlobUnavailable as error:
        log.warning("archive.holders_unknown", count=len(gone), error=str(error))

"""The mark that says whose objects lie below a bucket and prefix.

No path names an installation, so of two that share a place one would take the other's objects for garbage. An object below
the prefix therefore names the data set in Redis that used the place first. Who removes what no record of its own names
(`doctor --audit --fix`) asks it before.
"""

from __future__ import annotations

from contextlib import suppress

from reconciler.api.errors import BlobCorrupt, BlobExists, BlobNotFound
from reconciler.stores.archiving import Archiving
from reconciler.stores.objects import FOLDER, BlobStore

_LONGEST = 200
"""Bytes of a mark that are read at most."""


def foreign_problem(store: Archiving, blobs: BlobStore) -> str:
    """Say that the objects belong to another installation, and what to do; empty: to ours. Marks a place without a mark.

    Raises:
        BlobUnavailable, StoreUnavailable: a server does not answer, or refuses us.
    """
    uri, ours = _mark(blobs), store.installation()
    with suppress(BlobExists):
        blobs.put(uri, ours.encode(), overwrite=False)
        return ""
    try:
        owner = blobs.get(uri, limit=_LONGEST).decode(errors="replace")
    except BlobNotFound:  # removed since: whoever comes next marks it
        return ""
    except BlobCorrupt as error:
        owner = f"somebody unknown ({error})"
    if owner == ours:
        return ""
    return (
        f"what lies there belongs to another installation, by {uri}: it names {owner}, this one is {ours}. "
        "Give each its own RECONCILER_S3_PREFIX or bucket. Where Redis was lost or begun anew and nobody else uses the "
        "place, take it over: `reconciler doctor --adopt`"
    )


def adopt(store: Archiving, blobs: BlobStore) -> None:
    """Make the objects this installation's, whoever they belonged to.

    Raises:
        BlobUnavailable, StoreUnavailable: a server does not answer, or refuses us.
    """
    blobs.put(_mark(blobs), store.installation().encode())


def _mark(blobs: BlobStore) -> str:
    return blobs.uri(FOLDER, "installation")

"""Join small objects of the index, so that a query for a day takes few requests.

What is put together is written before the parts are removed, and a run that stands in two objects is one run: a death in
between, or two at once, lose and double nothing. A run that is deleted meanwhile does not come back.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.archive.index import list_index, read_rows
from reconciler.archive.requests import write_wanted
from reconciler.stores.objects import BlobStore

MANY = 24
"""Small objects of a day that are let be."""
_SMALL = 512 * 1024
"""Bytes of a small one: some 10,000 runs."""


def compact(blobs: BlobStore, days: Iterable[tuple[str, str]]) -> int:
    """Join the small objects of these projects and days where there are many; return how many were removed.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    return sum(_compact(blobs, project, day) for project, day in sorted(days))


def _compact(blobs: BlobStore, project: str, day: str) -> int:
    found, _ = list_index(blobs, project, day, day)
    small = [one for one in found if one.size < _SMALL]
    if len(small) <= MANY:
        return 0
    read = read_rows(blobs, small)
    if read.damaged or read.gone:
        return 0
    uri = write_wanted(blobs, project, day, list(read.rows.values()))
    parts = [one.uri for one in small if one.uri != uri]
    blobs.delete(parts)
    return len(parts)

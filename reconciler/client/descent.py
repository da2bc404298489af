"""Find which runs `rerun`, `recover` or `fork` made of a run, among stored and archived ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from reconciler.api.action import RunId, TaskAction
from reconciler.api.errors import ArchiveUnreadable, BlobUnavailable
from reconciler.client.archived import ArchivedRuns
from reconciler.core.children import ROOT
from reconciler.stores.base import Store
from reconciler.stores.holds import RunLife

log = structlog.get_logger(__name__)
_AT_ONCE = 8
"""Runs that are read from the archive at the same time."""


def made_into(store: Store, archived: ArchivedRuns, source: RunLife) -> list[RunId]:
    """List the runs that were made of this one, by name.

    Who was made of it holds it for as long as he is stored or archived, so its holders are all that have to be looked at.
    What the archive does not answer of is left out, and told in the log.
    """
    holders = store.holders(source)
    stored = {first.id.run_id for first in _firsts(store, holders) if _source_of(first) == str(source)}
    rest = [run for run in holders if run not in stored]  # also one whose name another run has now
    return sorted({*stored, *_archived(archived, rest, str(source))})


def _firsts(store: Store, runs: Sequence[RunId]) -> Iterator[TaskAction]:
    """Read one action of each stored run: its root, or else the first one; all have the same origin."""
    for run, root in zip(runs, store.get_many([run.action(ROOT) for run in runs]), strict=True):
        if root is not None:
            yield root
        else:
            yield from store.list_actions(run, limit=1).actions


def _source_of(record: TaskAction) -> str:
    lineage = record.metadata.lineage
    return lineage.source if lineage is not None else ""


def _archived(archived: ArchivedRuns, runs: Sequence[RunId], source: str) -> list[RunId]:
    if not runs:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(runs)), thread_name_prefix="descent") as pool:
        told = pool.map(lambda run: _sources(archived, run), runs)
        return [run for run, sources in zip(runs, told, strict=True) if source in sources]


def _sources(archived: ArchivedRuns, run: RunId) -> frozenset[str]:
    with suppress(ArchiveUnreadable):
        try:
            return archived.sources(run)
        except BlobUnavailable as error:
            log.warning("archive.holders_unknown", count=1, error=str(error))
    return frozenset()

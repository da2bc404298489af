"""Finds runs in the archive that the store has forgotten."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Lock

import structlog

from reconciler.api.action import RunId, TaskAction
from reconciler.api.errors import ArchiveDamaged
from reconciler.api.phase import ActionPhase
from reconciler.archive.archive import Archive
from reconciler.archive.record import ArchivedRun
from reconciler.core.ordering import natural_page
from reconciler.stores.counts import RunCounts
from reconciler.stores.objects import BlobStore

log = structlog.get_logger(__name__)
_KEPT = 4
"""Runs that are kept for who asks for the next part of one."""
_SOURCES = 10_000
"""Runs of which is remembered what they were made of: some 200 bytes each."""
_FOR = 10.0
"""Seconds they are kept: then another run of the name may have come, or this one may have been deleted."""


class ArchivedRuns:
    """Reads runs of the archive, the last ones once for several questions. Threads may share it.

    Args:
        blobs: where the archive lies; None: there is none, and nothing is found.
    """

    def __init__(self, blobs: BlobStore | None) -> None:
        self._archive = Archive(blobs) if blobs is not None else None
        self._kept: dict[tuple[RunId, str], tuple[float, ArchivedRun]] = {}
        self._sources: dict[tuple[RunId, str], str] = {}
        self._forgotten = 0
        self._lock = Lock()

    @property
    def why_none(self) -> str:
        """A sentence for who finds nothing, where there is no archive to look into."""
        off = " RECONCILER_ARCHIVE is 0 here, so of an ended run nothing is read after RECONCILER_RETENTION."
        return off if self._archive is None else ""

    def find(self, run: RunId, incarnation: str = "") -> ArchivedRun | None:
        """Find a run; of several with one name the last, unless its incarnation is given. None: the archive has none.

        Raises:
            ArchiveDamaged, ArchiveTooNew: it cannot be read.
        """
        if self._archive is None:
            return None
        key, now, forgotten = (run, incarnation), time.monotonic(), self._forgotten
        kept = self._kept.get(key)
        if kept is not None and now - kept[0] < _FOR:
            return kept[1]
        found = self._archive.read_run(run, incarnation)
        if found is not None and found.damage and not found.actions:
            raise ArchiveDamaged(found.uri, found.lost)
        if found is not None and found.damage:  # what is listed and counted of it is not all
            log.warning("archive.damaged", run=str(run), error=found.damage)
        with self._lock:
            self._kept.pop(key, None)
            if found is not None and forgotten == self._forgotten:
                self._kept[key] = (now, found)
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
        return found

    def sources(self, run: RunId) -> frozenset[str]:
        """Return the runs that each run of a name was made of; what was read once is kept.

        Raises:
            ArchiveDamaged, ArchiveTooNew: one of them cannot be read.
        """
        if self._archive is None:
            return frozenset()
        lives = [(run, incarnation) for incarnation in self._archive.incarnations(run)]
        for life in lives:
            if life not in self._sources:
                found = self._archive.read_run(*life)
                with self._lock:
                    self._sources[life] = str(found.lineage.get("source", "")) if found else ""
                    if len(self._sources) > _SOURCES:
                        del self._sources[next(iter(self._sources))]
        return frozenset(self._sources.get(life, "") for life in lives) - {""}

    def forget(self) -> None:
        """Forget everything that was read, or is being read, because something was deleted."""
        with self._lock:
            self._kept.clear()
            self._sources.clear()
            self._forgotten += 1


def counts_of(run: ArchivedRun) -> RunCounts:
    """Count the actions of an archived run in each phase."""
    phases: dict[ActionPhase, int] = {}
    for record in run.actions.values():
        phases[record.phase] = phases.get(record.phase, 0) + 1
    return RunCounts(phases)


def listed(run: ArchivedRun, parent: str | None, after: str) -> Iterator[TaskAction]:
    """List the actions of an archived run, filtered and ordered as those of a stored one."""
    by_place = {f"{one.spec.parent_action_name or ''}/{name}": one for name, one in run.actions.items()}
    chosen = (place for place in by_place if parent is None or place.startswith(f"{parent}/"))
    yield from (by_place[place] for place in natural_page(chosen, after, len(by_place)))

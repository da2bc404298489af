"""Tells which events in segments nobody will ask for: those of runs that are deleted, but not those of a later run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.api.action import RunId
from reconciler.stores.base import Store
from reconciler.stores.holds import LIFE

_ROOTS = 500
"""Roots of a run that are looked at."""


class Unneeded:
    """Decides for one event after the other; asks the store once for each run.

    A segment is read by whoever archives a run that is stored, and by nobody else.

    Args:
        store: knows which runs of a name there are.
        is_meant: whether runs of this name are deleted.
        ends: of each name when the last one that is deleted ended, ms, where that is known.
    """

    def __init__(
        self, store: Store, is_meant: Callable[[RunId], bool], ends: Mapping[RunId, int] | None = None
    ) -> None:
        self._store = store
        self._is_meant = is_meant
        self._ends = ends or {}
        self._created: dict[RunId, int] = {}

    def __call__(self, run: RunId, at: int) -> bool:
        """Tell whether an event of a run, at a time in ms, is to go.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        if not self._is_meant(run):
            return False
        if run not in self._created:
            self._created[run] = self._first(run)
        created, end = self._created[run], self._ends.get(run, 0)
        if not created or created <= end:  # none is stored, or the very one that is deleted
            return True
        return (
            at <= end or at < created - LIFE
        )  # what a run takes over of another one is stored before its root

    def _first(self, run: RunId) -> int:
        """Tell when the first root of the stored run of a name was created; 0 when none is stored."""
        roots = self._store.list_actions(run, parent="", limit=_ROOTS).actions
        return min((root.metadata.creation_timestamp for root in roots), default=0)

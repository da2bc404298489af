"""The actions of one incarnation of a run. When its name is used again, that is another run and is not shown."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.api.action import ActionId, Deletion, RunId, TaskAction
from reconciler.api.errors import ActionNotFound
from reconciler.api.event import ActionEvent
from reconciler.archive.record import ArchivedRun
from reconciler.client.actions import Actions
from reconciler.client.archived import counts_of, listed
from reconciler.client.identities import NamedAction, NamedRun, action_of, run_of
from reconciler.stores.base import AbortOutcome, AbortReport
from reconciler.stores.counts import RunCounts


class OneIncarnation(Actions):
    """Reads one incarnation of a run: a later run of the same name is not found.

    Args:
        actions: of the installation.
        action: one of the run.
        incarnation: of the run; empty: whichever there is, as with a run of a release before.
    """

    def __init__(self, actions: Actions, action: ActionId, incarnation: str) -> None:
        super().__init__(actions.store, actions.blobs, actions.messenger, actions.archived)
        self.door, self.actor, self.largest = actions.door, actions.actor, actions.largest
        self._action, self.place = action, actions.place
        self._meant = incarnation

    def counts(self, run: NamedRun) -> RunCounts:
        """See `Actions.counts`."""
        run = run_of(run, *self.place)
        found = super().counts(run)
        # only now: what was read before a record of ours is of our run
        archived = self._archived(run) if self.get(self._action).archived else None
        return found if archived is None else counts_of(archived)

    def actions(self, run: NamedRun, parent: str | None = None, after: str = "") -> Iterator[TaskAction]:
        """See `Actions.actions`."""
        for given, record in enumerate(super().actions(run, parent, after)):
            if not self._is_own(record.metadata.incarnation):
                yield from self._instead(record, given, parent, after)
                return
            yield record

    def _instead(
        self, foreign: TaskAction, given: int, parent: str | None, after: str
    ) -> Iterator[TaskAction]:
        """Read the actions of our run from the archive, where a later run has its name."""
        archived = self._archived(foreign.id.run_id)
        if archived is None or given:
            raise ActionNotFound(foreign.id, used_again=True, incarnation=self._meant)
        return listed(archived, parent, after)

    def events(self, action: NamedAction, after: int = 0) -> list[ActionEvent]:
        """See `Actions.events`."""
        action = action_of(action, *self.place)
        found = self.store.events(action, after)
        record = self.get(action)  # only now, as above
        return self._archived_events(record, after) if record.archived else found

    def _request_abort(self, action: ActionId, request: Deletion) -> AbortReport:
        report = self.store.request_abort(action, request, incarnation=self._meant)
        if report.outcome is AbortOutcome.MISSING:
            self.get(action)  # says why, where there is a later one
        return report

    def _is_own(self, incarnation: str) -> bool:
        return self._meant in {"", incarnation}

    def _archived(self, run: RunId) -> ArchivedRun | None:
        return self.archived.find(run, self._meant)

"""The actions of one incarnation of a run: a name that was used again is another run, and none of the caller's business."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.api.action import ActionId, Deletion, RunId, TaskAction
from reconciler.api.errors import ActionNotFound
from reconciler.api.event import ActionEvent
from reconciler.client.actions import Actions
from reconciler.stores.base import AbortOutcome, AbortReport
from reconciler.stores.counts import RunCounts


class OneIncarnation(Actions):
    """Does what `Actions` does, for the run that was submitted, and not for a later one of its name: that one is not found.

    Args:
        actions: of the installation.
        action: one of the run.
        incarnation: of the run; empty: whichever there is, as with a run of a release before.
    """

    def __init__(self, actions: Actions, action: ActionId, incarnation: str) -> None:
        super().__init__(actions.store, actions.blobs, actions.messenger)
        self._action = action
        self._incarnation = incarnation

    def get(self, action: ActionId) -> TaskAction:
        """See `Actions.get`."""
        return self._own(super().get(action))

    def counts(self, run: RunId) -> RunCounts:
        """See `Actions.counts`."""
        found = super().counts(run)
        self.get(self._action)  # only now: what was read before a record of ours is of our run
        return found

    def actions(self, run: RunId, parent: str | None = None, after: str = "") -> Iterator[TaskAction]:
        """See `Actions.actions`."""
        return map(self._own, super().actions(run, parent, after))

    def events(self, action: ActionId, after: int = 0) -> list[ActionEvent]:
        """See `Actions.events`."""
        found = super().events(action, after)
        self.get(action)  # only now, as above
        return found

    def _records(self, actions: Sequence[ActionId]) -> list[TaskAction]:
        return [self._own(record) for record in super()._records(actions)]

    def _request_abort(self, action: ActionId, wish: Deletion) -> AbortReport:
        report = self.store.request_abort(action, wish, incarnation=self._incarnation)
        if report.outcome is AbortOutcome.MISSING:
            self.get(action)  # says why, where there is a later one
        return report

    def _own(self, record: TaskAction) -> TaskAction:
        there = record.metadata.incarnation
        if self._incarnation and there != self._incarnation:
            raise ActionNotFound(record.id, used_again=True)
        return record

"""Looking at what is stored: the part of the client that reads and waits for nothing."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.api.errors import ActionNotFound
from reconciler.api.event import ActionEvent
from reconciler.core.attempts import AttemptView, attempt_view, attempts_of
from reconciler.core.events import observed_attempts
from reconciler.stores.base import Store
from reconciler.stores.counts import RunCounts, RunSummary

_FIRST_PAGE = 500
_PAGE = 5000
"""Larger: whoever asks for a second one wants them all, and each page costs a look at all names."""


class Looking:
    """`get`, `counts`, `runs`, `actions`, `events` and `attempts`, on what `Client` has besides."""

    store: Store

    def get(self, action: ActionId) -> TaskAction:
        """One record.

        Raises:
            ActionNotFound: it was never accepted, or has been collected.
            InvalidName: a part of its identity breaks the rule of names.
        """
        found = self.store.get(action.checked())
        if found is None:
            raise ActionNotFound(action)
        return found

    def counts(self, run: RunId) -> RunCounts:
        """How many actions of a run are in each phase.

        Raises:
            ActionNotFound: there is no such run.
        """
        found = self.store.counts(run.checked())
        if found is None:
            raise ActionNotFound(run)
        return found

    def runs(self, limit: int = 50, before: int | RunSummary = 0) -> list[RunSummary]:
        """Runs, newest first.

        Args:
            limit: most runs.
            before: only runs created earlier, ms since the epoch; or the last run of a page, to go on behind it.
        """
        return self.store.list_runs(limit, before)

    def actions(self, run: RunId, parent: str | None = None, after: str = "") -> Iterator[TaskAction]:
        """All actions of a run, or the direct children of one, by parent and name, `m2` before `m10`.

        Args:
            run: which run.
            parent: name of an action; given, only its children, and none of theirs; "" gives the roots.
            after: go on behind this action, as `position` names it.
        """
        run.checked()
        limit = _FIRST_PAGE
        while True:
            page = self.store.list_actions(run, parent=parent, after=after, limit=limit)
            yield from page.actions
            after, limit = page.next, _PAGE
            if not after:
                return

    def events(self, action: ActionId, after: int = 0) -> list[ActionEvent]:
        """Events so far with a sequence above `after`.

        Raises:
            ActionNotFound: there is no such action.
        """
        found = self.store.events(action.checked(), after)
        if not found:
            self.get(action)
        return found

    def attempts(self, action: ActionId) -> list[AttemptView]:
        """The attempts so far, in order, as their events tell of them (R60).

        Events are kept for a day, the newest 200 of an action. Of an attempt whose events are gone nothing is said; of the
        last one always its number.

        Raises:
            ActionNotFound: there is no such action.
        """
        found = attempts_of(self.events(action))
        return found or [attempt_view(observed_attempts(self.get(action)), ())]


def position(action: TaskAction) -> str:
    """Where an action stands in the order of `Looking.actions`: its parent, then its name."""
    return f"{action.spec.parent_action_name or ''}/{action.id.action}"

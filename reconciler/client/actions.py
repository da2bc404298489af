"""Offer the verbs for actions that are stored: read them, wait for their end, abort them.

Waiting never polls faster than every few seconds; it is woken by what the steps commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from reconciler.api.action import ActionId, Deletion, RunId, TaskAction
from reconciler.api.audit import Door, Who
from reconciler.api.errors import ActionEnded, ActionNotFound, ArchiveDamaged, ResultTimeout
from reconciler.api.event import ActionEvent
from reconciler.api.schedule import check_priority
from reconciler.api.status_conditions import cut
from reconciler.archive.record import ArchivedRun
from reconciler.broker.messages import Messenger
from reconciler.client.archived import ArchivedRuns, counts_of, listed
from reconciler.client.descent import made_into
from reconciler.client.identities import Handle, NamedAction, NamedRun, action_of, life_of, run_of
from reconciler.client.reading import read_outcomes, read_outputs
from reconciler.client.submission import MAX_ACTOR, me
from reconciler.client.turns import below, set_priority
from reconciler.client.waiting import (
    Waiter,
    decode_outputs,
    is_over,
    not_over,
    raise_unless_succeeded,
    refuse_own,
)
from reconciler.client.waking import Waker
from reconciler.client.watching import Watch
from reconciler.core.attempts import AttemptView, attempt_view, attempts_of
from reconciler.core.events import observed_attempts
from reconciler.core.half_stored import half_stored_text, is_open, is_rootless
from reconciler.stores.base import AbortOutcome, AbortReport, Store
from reconciler.stores.counts import RunCounts, RunSummary
from reconciler.stores.ended import AnyEnd
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import BlobStore

T = TypeVar("T")

ABORT_REASON = "User requested abort"
"""Why an action is aborted, when nobody says it."""
_AT_ONCE = 500
"""Actions per round trip."""
_FIRST_PAGE = 500
_PAGE = 5000
"""Larger: whoever asks for a second one wants them all, and each page costs a look at all names."""


class Actions:
    """The actions of an installation, by their identity. Safe to share between threads.

    What the store has forgotten is read from the archive; such a record says so (`TaskAction.archived`).

    Attributes:
        store: records.
        blobs: objects.
        messenger: wake-ups.
        archived: runs the store has forgotten.
        largest: bytes of the largest outputs that are loaded; 0: any.
        door: the way by which the caller came, noted with each change.
        actor: who the caller is; empty = the user of this process.
        place: project and domain of names without them.
    """

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        messenger: Messenger,
        archived: ArchivedRuns | None = None,
    ) -> None:
        self.largest, self._meant = 0, ""  # incarnation of the run; empty: any
        self.store = store
        self.blobs = blobs
        self.messenger = messenger
        self.archived = archived or ArchivedRuns(None)
        self.door: str = Door.CLIENT
        self.actor = ""
        self.place = ("default", "development")
        self._waker = Waker(messenger)

    def who(self) -> Who:
        """Return who acts, as noted with submissions, priorities and queues."""
        return Who(self.actor or me(), self.door)

    # -- reading ---------------------------------------------------------------------------------------------------
    def get(self, action: NamedAction) -> TaskAction:
        """Read one record.

        Raises:
            ActionNotFound: it was never accepted, or has been collected and is in no archive.
            InvalidName: a part of its identity breaks the rule of names.
            ArchiveDamaged, ArchiveTooNew: it lies in the archive, and cannot be read.
            BlobUnavailable: it is not stored, and the server of the archive does not answer.
        """
        action = action_of(action, *self.place)
        found = self.store.get(action)
        if found is not None and self._is_own(found.metadata.incarnation):
            return found
        run = self._archived(action.run_id)
        record = run.get(action) if run is not None else None
        if record is not None:
            return record
        if run is not None and run.damage:
            raise ArchiveDamaged(run.uri, run.lost)
        partly = "" if found is not None else self._partly(action.run_id, run)
        raise self._missing(action, used_again=found is not None, half_stored=partly)

    def _partly(self, run: RunId, archived: ArchivedRun | None) -> str:
        """Say of a run whose submitter has not stored all of it how it goes on; empty for any other one."""
        if archived is not None:
            records = list(archived.actions.values())
            return half_stored_text(records[0], len(records)) if is_rootless(records) else ""
        first = self.store.list_actions(run, limit=1).actions
        if not (is_rootless(first) or any(map(is_open, first))):
            return ""
        counts = self.store.counts(run)
        return half_stored_text(first[0], counts.total if counts else 1)

    def _missing(self, action: object, **why: Any) -> ActionNotFound:  # noqa: ANN401  # arguments of the error
        """Make the error for an action, or a run, that neither the store nor the archive has."""
        return ActionNotFound(action, incarnation=self._meant, also=self.archived.why_none, **why)

    def _is_own(self, incarnation: str) -> bool:
        """Tell whether a record of this incarnation belongs to the run that is meant, not to a later run of its name."""
        del incarnation
        return True

    def _archived(self, run: RunId) -> ArchivedRun | None:
        """Read the run from the archive; None when it has none."""
        return self.archived.find(run)

    def counts(self, run: NamedRun) -> RunCounts:
        """Count the actions of a run in each phase.

        Raises:
            ActionNotFound: there is no such run.
        """
        run = run_of(run, *self.place)
        found = self.store.counts(run)
        if found is not None:
            return found
        archived = self._archived(run)
        if archived is None:
            raise self._missing(run)
        return counts_of(archived)

    def runs(self, limit: int = 50, before: int | RunSummary = 0) -> list[RunSummary]:
        """List runs, newest first.

        Args:
            limit: most runs.
            before: only runs created earlier, ms since the epoch; or the last run of a page, to continue after it.
        """
        return self.store.list_runs(limit, before)

    def actions(self, run: NamedRun, parent: str | None = None, after: str = "") -> Iterator[TaskAction]:
        """List all actions of a run, or the direct children of one, by parent and name, `m2` before `m10`.

        Args:
            run: which run.
            parent: name of an action: list only its direct children; "" lists the roots.
            after: continue after this action, as `position` names it.

        Raises:
            ActionNotFound: there is no such run.
        """
        return self._listed(run_of(run, *self.place), parent, after)

    def _listed(self, run: RunId, parent: str | None, after: str) -> Iterator[TaskAction]:
        limit = _FIRST_PAGE
        while True:
            page = self.store.list_actions(run, parent=parent, after=after, limit=limit)
            if not page.actions and limit == _FIRST_PAGE and self.store.counts(run) is None:
                archived = self._archived(run)
                if archived is None:
                    raise self._missing(run)
                yield from listed(archived, parent, after)
                return
            yield from page.actions
            after, limit = page.next, _PAGE
            if not after:
                return

    def events(self, action: NamedAction, after: int = 0) -> list[ActionEvent]:
        """Read the events so far with a sequence above `after`.

        Raises:
            ActionNotFound: there is no such action.
        """
        action = action_of(action, *self.place)
        found = self.store.events(action, after)
        return found or self._archived_events(self.get(action), after)

    def _archived_events(self, record: TaskAction, after: int) -> list[ActionEvent]:
        run = self._archived(record.id.run_id) if record.archived else None
        return run.events(record.id.action, after) if run is not None else []

    def attempts(self, action: NamedAction) -> list[AttemptView]:
        """List the attempts so far, in order, as their events tell of them (R60).

        Events are kept for a day, the newest 200 of an action, and all in the archive. An attempt whose events are gone
        is left out, except that the last one always has its number.

        Raises:
            ActionNotFound: there is no such action.
        """
        found = attempts_of(self.events(action))
        return found or [attempt_view(observed_attempts(self.get(action)), ())]

    def made_of(self, run: NamedRun) -> RunLife | None:
        """Find the run this one was made of by `rerun`, `recover` or `fork`; None when it was submitted.

        Raises:
            ActionNotFound: there is no such run.
        """
        first = next(self.actions(run), None)
        if first is None:
            raise ActionNotFound(run_of(run, *self.place))
        lineage = first.metadata.lineage
        return RunLife.parse(lineage.source) if lineage else None

    def submitter(self, record: TaskAction) -> Who | None:
        """Return who submitted an action, or the run it was submitted with; None when nobody noted it."""
        above: TaskAction | None = record
        while above is not None and above.metadata.submitted is None:
            parent = above.spec.parent_action_name
            above = self._parent(above.id.run_id.action(parent)) if parent else None
        return above.metadata.submitted if above is not None else None

    def _parent(self, action: ActionId) -> TaskAction | None:
        try:
            return self.get(action)
        except ActionNotFound:
            return None

    def made_into(self, source: RunLife | Handle) -> list[RunId]:
        """Find the runs that `rerun`, `recover` or `fork` made of this one, stored or archived, by name."""
        return made_into(self.store, self.archived, life_of(source))

    # -- waiting ---------------------------------------------------------------------------------------------------
    def watch(self, action: NamedAction, after: int = 0, timeout: float | None = None) -> Watch:
        """Give events as they come, ending with the terminal one, for `for` and `async for`.

        Args:
            action: which one.
            after: continue after the event with this sequence number.
            timeout: seconds in all; None follows as long as it takes.

        Raises:
            ActionNotFound: there is no such action; raised when the first event is asked for.
            ResultTimeout: `timeout` seconds passed before the end.
        """
        return Watch(self, action_of(action, *self.place), after, timeout)

    def wait(
        self,
        action: NamedAction,
        timeout: float | None = None,
        progress: Callable[[], None] | None = None,
        *,
        fresh: bool = False,
    ) -> TaskAction:
        """Wait until the action has ended and return its record; if aborted or timed out, until its members have, too.

        Args:
            action: which one.
            timeout: seconds; None waits as long as it takes.
            progress: called whenever something of the run was committed.
            fresh: it was submitted a moment ago, so it has probably not ended yet.

        Raises:
            ActionNotFound: there is no such action.
            ResultTimeout: it has not ended in time; it goes on.
            EndlessWait: a task would wait for what waits for it.
        """
        action = action_of(action, *self.place)
        if not fresh:
            record = self.get(action)
            if is_over(record):
                return record
        refuse_own(self.store, action, timeout)
        end_of = "" if progress is not None else action.action
        with Waiter(self.store, action.run_id, timeout, end_of=end_of) as waiter:
            while True:
                record = self.get(action)
                if is_over(record):
                    return record
                if not waiter.wait(often=record.phase.is_terminal()):
                    raise ResultTimeout(not_over(record, timeout))
                if progress is not None:
                    progress()

    def result(self, action: NamedAction, timeout: float | None = None) -> Any:  # noqa: ANN401  # whatever the task returned
        """Wait until the action has succeeded and return its outputs.

        Raises:
            ActionFailed, ActionAborted, ActionTimedOut: it ended otherwise.
            ActionNotFound, ResultTimeout: see `wait`.
        """
        return decode_outputs(self.outputs(self.wait(action, timeout)))

    def outputs(self, record: TaskAction) -> bytes:
        """Read the outputs document of a succeeded action; `{}` when it has none.

        Raises:
            ActionEnded: the action did not succeed.
            BlobNotFound, BlobCorrupt, BlobUnavailable: the object is gone, changed or too large, or out of reach.
        """
        raise_unless_succeeded(record)
        return read_outputs(self.blobs, record, self.largest)

    def outcomes(self, actions: Sequence[NamedAction], decode: Callable[[bytes], T]) -> list[T | ActionEnded]:
        """Read the results or errors of many ended actions, in order, in few round trips.

        Of outputs that are gone or were changed the error is `ActionFailed`, with the code `BlobNotFound` or `BlobCorrupt`.

        Raises:
            ActionNotFound: one of them is not stored.
            BlobUnavailable: the server does not answer.
        """
        return read_outcomes(
            self.blobs,
            self._ends([action_of(action, *self.place) for action in actions]),
            decode,
            self.largest,
        )

    def _ends(self, actions: Sequence[ActionId]) -> list[AnyEnd]:
        found: list[AnyEnd] = []
        for start in range(0, len(actions), _AT_ONCE):
            part = actions[start : start + _AT_ONCE]
            for action, end in zip(part, self.store.ends(part), strict=True):
                own = end is not None and self._is_own(end.incarnation)
                found.append(end if end is not None and own else self.get(action))
        return found

    # -- ending ----------------------------------------------------------------------------------------------------
    def abort(self, action: NamedAction, reason: str = ABORT_REASON, actor: str = "") -> AbortOutcome:
        """Store the request to abort an action and all its descendants. An ended action stays as it ended.

        Args:
            action: which one; the root aborts the whole run.
            reason: passed to plugins and written into events; the default when empty (R38).
            actor: who asks; the user of this process when empty.

        Raises:
            ActionNotFound: there is no such action.
            StoreUnavailable: the store does not answer.
        """
        action = action_of(action, *self.place)
        request = Deletion(
            reason=cut(reason or ABORT_REASON, 1024),
            actor=cut(actor or self.actor or me(), MAX_ACTOR),
            door=self.door,
        )
        report = self._request_abort(action, request)
        if report.outcome is AbortOutcome.MISSING:
            self.get(action)  # which says why, unless it is archived: then it has ended
            return AbortOutcome.ENDED
        self._waker.wake(report.wake)
        return report.outcome

    def _request_abort(self, action: ActionId, request: Deletion) -> AbortReport:
        return self.store.request_abort(action, request)

    # -- whose turn it is ------------------------------------------------------------------------------------------
    def prioritize(self, target: NamedAction, priority: int) -> int:
        """Give live actions another priority, and move their waiting launches; a relaunch stays ahead of all.

        Args:
            target: a run, or an action and all below it.
            priority: 0 (last) to 9 (first).

        Returns:
            How many live actions have it now.

        Raises:
            InvalidSpec: it is no priority.
            ActionNotFound: there is no such action or run.
            StoreUnavailable: the store does not answer.
        """
        check_priority(priority)
        if not isinstance(target, RunId):
            target = action_of(target, *self.place)
        return set_priority(self.store, self.messenger, partial(below, self, target), priority, self.who())


def position(action: TaskAction) -> str:
    """Return the sort key of an action in `Actions.actions`: its parent, then its name."""
    return f"{action.spec.parent_action_name or ''}/{action.id.action}"

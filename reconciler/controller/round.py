"""A round: one look at one action, from what was read to the one write that says what was decided (R6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from reconciler.api.action import (
    DONE,
    FINALIZER,
    LABEL_COMPLETED_TIME,
    LABEL_TERMINATION_STATUS,
    TERMINATED,
    ActionId,
    Metadata,
    Result,
    TaskAction,
)
from reconciler.api.errors import ActionNotFound, InvalidInput, Superseded
from reconciler.api.transition import PhaseInfo
from reconciler.controller.audit import audit
from reconciler.controller.dependencies import Dependencies
from reconciler.controller.quota_leases import give_back
from reconciler.core.events import build_event, check_event
from reconciler.core.progress import begun
from reconciler.core.status_conditions import status_changed, terminal_time
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.state import PluginStateManager
from reconciler.stores.base import CommitOutcome, Store, Write


class Round:
    """One look at one action. Everything it decides is staged, and becomes one atomic write under the claim's token.

    Args:
        deps: the attributes of the reconciler.
        record: the action; changed by the round.
        original: an untouched copy of it.
        write: what the claim allows to write; None when the record was merely read.

    Attributes:
        record: the working copy.
        original: the record as it was read, for comparison.
        now: the store's time of the round, ms.
        plugin: what runs the task, once `task.resolve` or the maker of the round has set it.
        context: what the plugin is called with, once `open_context` was called.
        lookup_failed: whether the cache could not be asked in this round (R44).
        reserved_until: when the cache reservation this action holds ends, ms; 0 = it holds none; None = not asked for.
    """

    __slots__ = (
        "_write", "context", "deps", "lookup_failed", "now", "original", "plugin", "record", "reserved_until",
    )  # fmt: skip

    plugin: Plugin
    context: TaskExecutionContext

    def __init__(
        self, deps: Dependencies, record: TaskAction, original: TaskAction, write: Write | None = None
    ) -> None:
        self.deps = deps
        self.record = record
        self.original = original
        self.now = record.now or deps.store.now()
        self.lookup_failed = False
        self.reserved_until: int | None = None
        self._write = write

    @property
    def write(self) -> Write:
        """The one write of the round; a record that was merely read is claimed when it is first asked for.

        Raises:
            ActionNotFound: the record is gone.
            Superseded: somebody else holds the action, or it has ended.
        """
        if self._write is None:
            claimed, record = claim_one(self.deps.store, self.record.id), self.record
            record.token, record.events, record.now = claimed.token, claimed.events, claimed.now
            record.metadata, record.phase = claimed.metadata, claimed.phase
            self.now = claimed.now
            self._write = Write(action=record, original=claimed)
        return self._write

    @property
    def merely_read(self) -> bool:
        """Tell whether nobody has claimed the record for this round yet."""
        return self._write is None

    def open_context(self) -> None:
        """Build what the plugin is called with: the context of the current attempt (R63).

        Raises:
            InvalidSpec: the run output base cannot be parsed.
            BadTaskSpecification: a secret is described wrongly.
        """
        status = self.record.status
        state = PluginStateManager(status.plugin_state, status.plugin_state_version)
        longest = self.plugin.properties.generated_name_max_length
        self.context = TaskExecutionContext(self.record, self.deps.services, state, longest)
        if self._write is not None:
            self._write.asked = self.context.asked

    # -- what is written -------------------------------------------------------------------------------------------
    def publish(self, info: PhaseInfo, **changes: Any) -> None:  # noqa: ANN401  # fields of ActionEvent
        """Stage one event together with the status.

        Args:
            info: the phase it tells of.
            changes: fields of the event that are not what status and phase say.

        Raises:
            InvalidInput: consumers could not place the event; nothing is written, and an audit entry says so.
        """
        write = self.write
        event = build_event(self.record, info, self.now, self.deps.settings.cluster)
        if write.events:
            changes["sequence"] = event.sequence + len(write.events)
        if changes:
            event = msgspec.structs.replace(event, **changes)
        try:
            check_event(event)
        except InvalidInput as error:
            self.audit("ActionEventPublishFailed", "PublishingActionEvent", str(error))
            raise
        write.events.append(event)
        write.status = True

    def save_status(self, info: PhaseInfo) -> None:
        """Publish and store the status, when it changed by the comparison of R6."""
        old, new = self.original.status, self.record.status
        if not status_changed(old, new):
            return
        in_line = new.launched and not old.launched and (new.launches or old.phase_history)
        if in_line or new.resumes or self.record.attempt.suspended:
            # the phase may be what it was, and the history with it, as after a quota; the event is not as old as that (R60)
            self.publish(info, updated_time=self.now)
        else:
            self.publish(info)

    def later(self, at: int) -> Result:
        """Store the new counters without an event, and look again at that time (ms)."""
        if status_changed(self.original.status, self.record.status):
            self.write.status = True
        return Result(max(0, at - self.now))

    def due(self, result: Result) -> int:
        """Return when to look again, ms (R7): 0 if the action has ended and needs no clean-up; at once if it needs some."""
        record = self.record
        if record.is_terminal:
            owed = FINALIZER in record.metadata.finalizers
            return self.now + (result.requeue_after or 0) if owed else 0
        if result.woken:
            return self.now
        at = 0 if result.requeue_after is None else self.now + result.requeue_after
        expires = record.metadata.expires_at
        if not expires or begun(self.original if self.write.launch is not None else record):
            return at  # what this round puts into a line has not begun by that
        return min(at or expires, expires)

    def end(self) -> Result:
        """Stamp the labels of the end, unless they are there (R36).

        The time is that of the terminal condition, or now if there is none. It does not check that the action has ended.
        """
        if not _has_terminal_labels(self.record.metadata):
            self.write.metadata = True
            at = terminal_time(self.record.status) or self.now
            self.record.set_metadata(completed_at=at)
        return DONE

    def drop_finalizer(self) -> None:
        """Stage the removal of this reconciler's finalizer; others stay."""
        record = self.record
        if FINALIZER not in record.metadata.finalizers:
            return
        if self.merely_read:  # whatever is written below must not bring back an older status
            record.status = self.write.original.status
        self.write.metadata = True
        kept = tuple(f for f in record.metadata.finalizers if f != FINALIZER)
        record.set_metadata(finalizers=kept)
        if record.status.quota_leases:  # nothing is owed any more, so nothing is in use
            record.set_status(quota_leases=())
            self.write.status = True

    # -- beside the write ------------------------------------------------------------------------------------------
    def audit(self, reason: str, doing: str, message: str) -> None:
        """Attach a warning to the record."""
        audit(self.deps.recorder, self.record.id, reason, doing, message, self.now)


def _has_terminal_labels(metadata: Metadata) -> bool:
    """Tell whether both labels of the end are complete, without building all labels (`TaskAction.labels`)."""
    extra = metadata.extra_labels
    return metadata.completed_at != 0 or (
        extra.get(LABEL_TERMINATION_STATUS) == TERMINATED and bool(extra.get(LABEL_COMPLETED_TIME))
    )


@contextmanager
def round_on(deps: Dependencies, record: TaskAction, original: TaskAction | None = None) -> Iterator[Round]:
    """Make a round on a record that was merely read, for a method of the reconciler that is called by itself.

    What the method stages is committed at the end under a claim of the newest version, and changes only its own fields: the
    conflict retry of R6 without its lost updates. If nothing is staged, nothing is claimed.

    Raises:
        ActionNotFound: the record is gone.
        Superseded: somebody else holds the action, or it has ended.
    """
    round = Round(deps, record, original or record.copy())
    try:
        yield round
    except Exception:
        if not round.merely_read:  # nothing is written, and nobody has to wait for the end of the lease
            claimed = round.write.original
            commit_one(deps, Write(action=claimed, original=claimed, due=claimed.now))
        raise
    if not round.merely_read:
        round.write.due = round.due(Result(0))
        commit_one(deps, round.write)


# -- claim and commit of a single action; `Stepper` does whole batches (R2, R6) ------------------------------------------
def claim_if_free(store: Store, action: ActionId) -> TaskAction | None:
    """Claim one action, due or not; None when it is unknown, claimed by another step, or has ended and owes nothing."""
    report = store.claim(store.shard_of(action.run_id), owner="reconcile", limit=0, named=[action])
    return report.actions[0] if report.actions else None


def claim_one(store: Store, action: ActionId) -> TaskAction:
    """Claim one action, due or not.

    Raises:
        ActionNotFound: there is no such record.
        Superseded: another step holds it, or it has ended and owes nothing.
    """
    claimed = claim_if_free(store, action)
    if claimed is not None:
        return claimed
    found = store.get(action)
    if found is None:
        raise ActionNotFound(action)
    if found.is_terminal and FINALIZER not in found.metadata.finalizers:
        raise Superseded(f"{action} has ended; nothing of it can change any more")
    raise Superseded(f"another step holds {action}; it will be looked at again when that step ends")


def commit_one(deps: Dependencies, write: Write) -> None:
    """Commit a single write.

    Raises:
        Superseded: a newer claim holds the action, or its launch has changed hands.
        ActionNotFound: the record is gone.
    """
    shard = deps.store.shard_of(write.action.id.run_id)
    outcome = deps.store.commit(shard, [write]).outcomes[0]
    if outcome is CommitOutcome.GONE:
        raise ActionNotFound(write.action.id)
    if outcome is CommitOutcome.SUPERSEDED:
        raise Superseded(
            f"{write.action.id} is held by a newer claim, or its launch has changed hands; nothing was written"
        )
    give_back(deps.resource_manager, deps.store, [write])

"""Records as the archive gives them, marked as archived, and whole runs."""

from __future__ import annotations

from typing import Any, ClassVar

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.api.errors import ArchiveDamaged
from reconciler.api.event import ActionEvent
from reconciler.core.attempts import AttemptView, attempt_view, attempts_of
from reconciler.core.events import observed_attempts
from reconciler.stores.events import decode_event


class ArchivedAction(TaskAction):
    """A record from the archive: as it was when its run was sealed. Nothing changes it any more.

    Attributes:
        ended_at: when it ended, ms since the epoch, UTC.
    """

    archived: ClassVar[bool] = True
    ended_at: int
    __slots__ = ("ended_at",)

    @classmethod
    def of(cls, record: TaskAction, ended_at: int) -> ArchivedAction:
        """Make the record of the archive from a stored one."""
        made = cls(
            record.id,
            record.spec,
            record.status,
            record.metadata,
            signal=record.signal,
            version=record.version,
            events=record.events,
            phase=record.phase,
            children=record.children,
            unknown=record.unknown,
        )
        made.ended_at = ended_at
        return made


class ArchivedRun:
    """A run as the archive holds it.

    Attributes:
        id, incarnation: which one.
        created_at, ended_at: ms since the epoch, UTC.
        actions: its records by name, parents before children.
        lineage: which runs it was made from, and how; empty for most.
        missing: events that were gone before it was archived.
        lost: what cannot be read of it; empty = it is whole.
        complete: whether all its records can be read, whatever else cannot.
        uri: of its object.
    """

    def __init__(
        self,
        id: RunId,  # noqa: A002  # the word of the field
        incarnation: str,
        *,
        created_at: int,
        ended_at: int,
        actions: dict[str, ArchivedAction],
        events: dict[str, list[bytes]],
        lineage: dict[str, Any],
        missing: int = 0,
        lost: str = "",
        complete: bool = True,
        uri: str = "",
    ) -> None:
        self.id = id
        self.incarnation = incarnation
        self.created_at = created_at
        self.ended_at = ended_at
        self.actions = actions
        self.lineage = lineage
        self.missing = missing
        self.lost = lost
        self.complete = complete
        self.uri = uri
        self._events = events

    @property
    def damage(self) -> str:
        """The damage of a run as a sentence with its remedy; empty when the run is complete."""
        return str(ArchiveDamaged(self.uri, self.lost)) if self.lost else ""

    def get(self, action: ActionId) -> ArchivedAction | None:
        """Return one record; None when the run has none of this name, or it cannot be read."""
        return self.actions.get(action.action) if action.run_id == self.id else None

    def events(self, action: str, after: int = 0) -> list[ActionEvent]:
        """Return the events of an action with a sequence above `after`, in order, each once."""
        decoded = map(decode_event, self._events.get(action, ()))
        unique = {event.sequence: event for event in decoded if event.sequence > after}
        return [unique[sequence] for sequence in sorted(unique)]

    def attempts(self, action: str) -> list[AttemptView]:
        """Return the attempts of an action, as `Client.attempts` tells of those of a live one."""
        found = attempts_of(self.events(action))
        if found or action not in self.actions:
            return found
        return [attempt_view(observed_attempts(self.actions[action]), ())]

"""Garbage: objects in S3 whose records are forgotten, or about to be.

It is noted before a record goes and dropped when the objects have gone, so a collector may be killed between the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from reconciler.api.action import ActionId, TaskAction
from reconciler.stores.holds import RunLife

Folders = tuple[str, ...]
"""URIs; what lies below them goes. None at all: the objects of the action stay."""


class Life(msgspec.Struct, frozen=True, order=True, gc=False):
    """An action in one incarnation of its run; a later action with that name is another one.

    Attributes:
        action: its name.
        incarnation: of its run; empty when a release before began it.
    """

    action: ActionId
    incarnation: str = ""

    def __str__(self) -> str:
        return f"{self.action}@{self.incarnation}" if self.incarnation else str(self.action)

    @classmethod
    def of(cls, record: TaskAction) -> Life:
        """Return the incarnation of a record."""
        return cls(record.id, record.metadata.incarnation)

    @classmethod
    def parse(cls, name: str) -> Life:
        """Read what `str` wrote."""
        path, _, incarnation = name.partition("@")
        return cls(ActionId(*path.split("/")), incarnation)


class Collected(msgspec.Struct, frozen=True):
    """The result of one pass of the collector in a shard (R42)."""

    deleted: tuple[TaskAction, ...]
    already_gone: int
    kept: int
    """Still owed clean-up or with live children; looked at again later."""


class Garbage(Protocol):
    """Forgets records, and remembers which objects are garbage. A note counts only once its action has no record."""

    def collectable(
        self, shard: int, *, before: int, limit: int, only: RunLife | None = None
    ) -> list[TaskAction]:
        """List what `collect` would forget now, of all or of a run; `limit` is the size of a page."""

    def note_garbage(self, shard: int, folders: Mapping[Life, Folders]) -> None:
        """Note where the objects of these actions lie. An older note of the same action is replaced."""

    def garbage(self, shard: int) -> dict[Life, Folders]:
        """Return all notes of a shard."""

    def drop_garbage(self, shard: int, lives: Iterable[Life]) -> None:
        """Drop the notes of these actions; one that has none is skipped."""

    def collect(
        self,
        shard: int,
        *,
        before: int,
        limit: int,
        noted: bool = False,
        archived: bool = False,
        only: RunLife | None = None,
    ) -> Collected:
        """Forget terminal actions that ended before `before`; never one above a child that stays (R42).

        With `noted` only those with a note (`Garbage.note_garbage`), with `archived` only those of runs in the archive. With
        `only` instead those of that run, whenever they ended: it is sealed, and nothing of it goes while some of it lives.
        """

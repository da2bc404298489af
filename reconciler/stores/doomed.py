"""What goes from S3 after its record: noted before, so that a collector may be killed between the two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from reconciler.api.action import ActionId, TaskAction

Folders = tuple[str, ...]
"""URIs; what lies below them goes. None at all: the objects of the action stay."""


class Doomed(Protocol):
    """The notes, shard by shard. A note of an action that has a record means nothing yet."""

    def collectable(self, shard: int, *, before: int, limit: int) -> list[TaskAction]:
        """What `collect` would forget just now; `limit` is the size of a page."""
        ...

    def doom(self, shard: int, folders: Mapping[ActionId, Folders]) -> None:
        """Note where the objects of these actions lie; an older note of one is replaced."""
        ...

    def doomed(self, shard: int) -> dict[ActionId, Folders]:
        """All notes of a shard."""
        ...

    def spare(self, shard: int, actions: Iterable[ActionId]) -> None:
        """Drop the notes of these actions."""
        ...

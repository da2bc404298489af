"""The children of a group in the order in which they ended."""

from __future__ import annotations

from typing import Protocol

from reconciler.api.action import ActionId


class Ended(Protocol):
    """The verb that tells which members of a group have ended."""

    def ended_children(self, group: ActionId, after: int = 0, limit: int = 500) -> list[str]:
        """List the names of ended children of a group, in the order of their ends, without the first `after`.

        The order is the same each time. It goes with the record of the group.
        """

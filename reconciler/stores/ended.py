"""The ends of actions: what is read of many of them, and the children of a group in the order in which they ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from reconciler.api.action import ActionId, Signal, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.status import ActionStatus


class End(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The parts of a record that say how an action ended, named as there: results of thousands need no more.

    Attributes:
        id: identity.
        incarnation: of its run.
        phase: the action phase.
        status: what was observed, with the outputs.
        signal: the answer to a condition, if any.
    """

    id: ActionId
    incarnation: str
    phase: ActionPhase
    status: ActionStatus
    signal: Signal | None = None


AnyEnd = TaskAction | End
"""Whatever says how an action ended."""


class Ended(Protocol):
    """The verbs that tell how actions ended, and which members of a group have."""

    def ends(self, actions: Sequence[ActionId]) -> list[End | None]:
        """Read how many actions ended, or what they are in, in few round trips, in the order asked; None: not stored."""

    def ended_children(self, group: ActionId, after: int = 0, limit: int = 500) -> list[str]:
        """List the names of ended children of a group, in the order of their ends, without the first `after`.

        The order is the same each time. It goes with the record of the group.
        """

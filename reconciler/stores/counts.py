"""Count the actions of a run in each phase: what lists and progress show."""

from __future__ import annotations

import msgspec

from reconciler.api.action import RunId
from reconciler.api.phase import ActionPhase


class RunCounts(msgspec.Struct, frozen=True):
    """The number of actions of a run in each phase."""

    phases: dict[ActionPhase, int]

    @property
    def total(self) -> int:
        """All actions of the run."""
        return sum(self.phases.values())

    @property
    def ended(self) -> int:
        """Actions in a terminal phase."""
        return sum(n for phase, n in self.phases.items() if phase.is_terminal())


class RunSummary(msgspec.Struct, frozen=True):
    """One line of a list of runs."""

    id: RunId
    created_at: int
    counts: RunCounts

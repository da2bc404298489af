"""Count the actions of a run in each phase: what lists and progress show."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from reconciler.api.action import ActionId, RunId
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
    """One line of a list of runs.

    Attributes:
        id: which run.
        created_at: ms since the epoch.
        counts: its actions by phase.
        codes: of the last errors of its actions that have ended.
    """

    id: RunId
    created_at: int
    counts: RunCounts
    codes: frozenset[str] = frozenset()


class Asking(msgspec.Struct, frozen=True):
    """Actions that wait for a person.

    Attributes:
        actions: those that began last first, as many as were asked for.
        total: how many there are.
    """

    actions: tuple[ActionId, ...] = ()
    total: int = 0

    @classmethod
    def newest(cls, found: Iterable[tuple[int, str]], limit: int, total: int) -> Asking:
        """Choose this many actions, each with the time since when it waits; in one ms the last by name is first."""
        chosen = sorted(found, reverse=True)[:limit]
        return cls(tuple(ActionId.parse(path) for _, path in chosen), total)


def newest_runs(
    runs: Iterable[tuple[int, RunId]], limit: int, before: int | RunSummary
) -> list[tuple[int, RunId]]:
    """Choose a page of runs, each with its creation time: newest first, behind `before` (see `Store.list_runs`)."""
    if isinstance(before, RunSummary):
        last = (before.created_at, str(before.id))
        wanted = [(at, run) for at, run in runs if (at, str(run)) < last]
    else:
        wanted = [(at, run) for at, run in runs if not before or at < before]
    return sorted(wanted, key=lambda entry: (entry[0], str(entry[1])), reverse=True)[:limit]

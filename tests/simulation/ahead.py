"""A child that is given calls before their turn, and may begin the next one before its supervisor has seen the last end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker.runner.messages import Call

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


class VirtualAhead:
    """Stands in for `CallsAhead`, and for the end that the child receives from."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._waiting: list[Call] = []
        self._begun: list[Call] = []

    def __len__(self) -> int:
        return len(self._begun) + len(self._waiting)

    def __contains__(self, call: Call) -> bool:
        return any(one is call for one in (*self._begun, *self._waiting))

    def give(self, calls: Sequence[Call]) -> None:
        """Do as the real one."""
        self._waiting += [call for call in calls if call not in self]

    def take_back(self) -> None:
        """Do as the real one: what has been begun stays."""
        self._waiting = []

    def begin(self, call: Call) -> None:
        """Note that the turn of a call has come; it begins now unless it has before."""
        begun = any(one is call for one in self._begun)
        self._begun = [one for one in self._begun if one is not call]
        self._waiting = [one for one in self._waiting if one is not call]
        if not begun:
            self._sim.begins(call)

    def go_on(self) -> None:
        """Begin the next call after the end of one, or a moment later."""
        if self._waiting and not self._begun and self._sim.rng.random() < 0.5:
            self._begun.append(call := self._waiting.pop(0))
            self._sim.begins(call)

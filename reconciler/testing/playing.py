"""Play a run in a lab to its end: move the clock to the next due time, and answer conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler.api.action import CONDITION, ActionId, TaskAction
from reconciler.api.approval import ConditionSpec, read_condition
from reconciler.api.errors import InvalidArguments
from reconciler.api.phase import ActionPhase

if TYPE_CHECKING:
    from reconciler.testing.lab import Lab

Answer = bool | int | float | str
MOST_PASSES = 1_000
"""Most passes of one action that are played."""
_ROUNDS = 100_000
"""Most rounds in a row in which no function is called."""
_ANSWERS: dict[str, Answer] = {"bool": True, "int": 1, "float": 1.0, "str": "yes"}


class NeverEnds(AssertionError):
    """A played run never ends. The message says what goes on for ever."""


class Passes(Counter[ActionId]):
    """Counts the passes of each action."""

    def count(self, record: TaskAction) -> None:
        """Count one.

        Raises:
            NeverEnds: there were too many.
        """
        if self[record.id] >= MOST_PASSES:
            raise NeverEnds(_for_ever(record))
        self[record.id] += 1


def _for_ever(record: TaskAction) -> str:
    over, action = record.status.start_over, record.id.action
    what = (
        f"it has started over {over.number} times (continue_as_new)"
        if over
        else "it waits again and again, so each pass asks for more than the one before"
    )
    return (
        f"{record.spec.short_name or action} ({action}) was called {MOST_PASSES:,} times and has not ended: {what}. "
        "A function that goes on for ever cannot be played to its end: give it an argument that says when to end, and "
        "check it with a small one."
    )


class Player:
    """Plays one run.

    Args:
        lab: its installation.
        root: its first action.
        answers: what is answered, by the name of the question; others are answered by True, 1, 1.0 or "yes".
    """

    def __init__(self, lab: Lab, root: ActionId, answers: Mapping[str, Answer]) -> None:
        self._lab = lab
        self._root = root
        self._answers = answers
        self.asked: dict[str, None] = {}
        """Names of the questions that were asked, in order."""

    def play(self) -> None:
        """Play to the end.

        Raises:
            NeverEnds: nothing ends what it waits for.
        """
        idle, began = 0, self._lab.clock()
        while True:
            self._lab.step()
            called = self._lab.worker.work()
            idle = 0 if called or self._answer_all() else idle + 1
            if idle and not self._skip():
                return
            if idle > _ROUNDS:
                raise NeverEnds(self._stuck(began))

    def check_answers(self) -> None:
        """Refuse answers to questions that were never asked: a misspelt name, or an earlier end.

        Raises:
            InvalidArguments: with the names that were asked.
        """
        left = [name for name in self._answers if name not in self.asked]
        if left:
            asked = ", ".join(map(repr, self.asked)) or "nothing"
            names = ", ".join(map(repr, left))
            raise InvalidArguments(
                f"answers has {names}, which was never asked; asked was {asked}. An answer stands under the name its "
                "question has in ask(name, …)."
            )

    def _skip(self) -> bool:
        """Move the clock to what is due next; False when nothing is, or the run has ended."""
        lab = self._lab
        times = [due[0][1] for shard in range(lab.store.shards) if (due := lab.store.due(shard, 1))]
        if not times or lab.get(self._root).phase.is_terminal():
            return False
        lab.clock.move_to(min(times))
        return True

    def _answer_all(self) -> int:
        """Answer the waiting questions; return how many."""
        waiting = [self._question(action) for action in self._lab.client.actions(self._root.run_id)]
        questions = [found for found in waiting if found is not None]
        for action, asked in questions:
            self.asked[asked.name] = None
            self._lab.client.signal(action, self._answers.get(asked.name, _ANSWERS[asked.type]))
        return len(questions)

    @staticmethod
    def _question(action: TaskAction) -> tuple[ActionId, ConditionSpec] | None:
        if action.phase is not ActionPhase.PAUSED or action.spec.action_type != CONDITION:
            return None
        spec = read_condition(action.spec.condition_spec)
        return None if spec is None or action.signal is not None else (action.id, spec)

    def _stuck(self, began: int) -> str:
        days = timedelta(milliseconds=self._lab.clock() - began).days
        open_ones = [a for a in self._lab.client.actions(self._root.run_id) if not a.phase.is_terminal()]
        names = ", ".join(f"{a.id.action} ({a.phase})" for a in open_ones[:5])
        return (
            f"nothing was called for {_ROUNDS:,} rounds, which were {days} days of the lab, and {names} have not ended: "
            "what they wait for does not come."
        )

"""Overlap full batches of a step: while rounds are played, the store commits the last batch and claims the next.

Else store and process take turns, and each waits while the other works. A batch that is not full has nothing behind it, so
a lone action pays nothing for this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from reconciler.api.action import TaskAction
from reconciler.controller.concurrency import Slots
from reconciler.controller.joined import Budget
from reconciler.stores.base import ClaimReport, CommitReport, Write
from reconciler.stores.writable import UNWRITABLE

Committed = tuple[CommitReport, int, int]
"""The report of a commit, and how many of its writes were accepted and refused."""


class Turn(Protocol):
    """A commit, with a claim behind it, in flight."""

    def answers(self) -> tuple[CommitReport | None, ClaimReport]:
        """Wait for both; the report of the commit is None when nothing was to be written."""

    def give_up(self) -> None:
        """Give up both answers."""


class Turns(Protocol):
    """A store that can be sent a commit and a claim without waiting."""

    def begin(self, shard: int, writes: Sequence[Write], limit: int) -> Turn:
        """Send both. The claim arms no countdown: the commit that follows will arm one for what it leaves.

        Args:
            shard: whose records.
            writes: what to commit; may be empty.
            limit: most actions to claim.

        Raises:
            StoreUnavailable: the server cannot be reached.
        """


class Playing(Protocol):
    """The step a batch belongs to: it plays rounds and commits them."""

    def fits(self, actions: list[TaskAction]) -> bool:
        """Tell whether a batch is full, and its rounds wait for nothing."""

    def play(self, action: TaskAction) -> Write:
        """Play a round."""

    def storable(self, write: Write) -> Write:
        """Return a write that can be encoded."""

    def commit(self, shard: int, writes: list[Write]) -> Committed:
        """Commit a batch, and do what `accept` does."""

    def accept(self, shard: int, writes: list[Write], report: CommitReport) -> Committed:
        """Do what follows a committed batch."""


class Batches:
    """The results of the batches of one step.

    Attributes:
        rest: claimed, and not played.
        claimed: actions that were claimed, those of `rest` included.
        committed: writes that were accepted.
        refused: writes that were not.
        report: of the last commit.
    """

    def __init__(self, actions: list[TaskAction]) -> None:
        self.rest = actions
        self.claimed = len(actions)
        self.committed = 0
        self.refused = 0
        self.report: CommitReport | None = None

    def claim(self, actions: list[TaskAction]) -> None:
        """Note a claimed batch; the one before has been played."""
        self.rest = actions
        self.claimed += len(actions)

    def told(self, report: CommitReport | None, done: int, refused: int) -> None:
        """Note the report of a commit, with the numbers of accepted and refused writes."""
        self.report = report
        self.committed += done
        self.refused += refused


class StepReport(msgspec.Struct, frozen=True):
    """The result of a step.

    Attributes:
        claimed: actions looked at.
        committed: writes that were accepted.
        superseded: writes refused because a newer owner holds the action.
        again: whether work was left when the budget ran out.
    """

    claimed: int = 0
    committed: int = 0
    superseded: int = 0
    again: bool = False

    def plus(self, more: Batches) -> StepReport:
        """Add the results of more batches."""
        claimed, committed = self.claimed + more.claimed, self.committed + more.committed
        return StepReport(claimed, committed, self.superseded + more.refused, self.again)


class Ahead:
    """Plays full batches so that they overlap.

    Args:
        turns: the store.
        slots: how many actions this process may hold.
        batch: most actions to claim at once.
        stepper: what a step does with a batch.
    """

    def __init__(self, turns: Turns, slots: Slots, batch: int, stepper: Playing) -> None:
        self._turns = turns
        self._slots = slots
        self._batch = batch
        self._stepper = stepper

    def run(self, shard: int, batches: Batches, budget: Budget) -> None:
        """Play batches as long as they fit and another may begin.

        Args:
            shard: whose they are.
            batches: the results so far; those of all further batches are added.
            budget: tells when none may begin any more.

        Raises:
            StoreUnavailable: the store does not answer; claims end with their leases.
        """
        held = _Held(self._slots, len(batches.rest))
        try:
            writes: list[Write] = []
            while not budget.over() and self._stepper.fits(batches.rest):
                writes = self._overlapped(shard, writes, batches, held)
            if writes:
                batches.told(*self._stepper.commit(shard, writes))
                held.give(len(writes))
        except BaseException:
            held.give_all()
            raise

    def _overlapped(self, shard: int, writes: list[Write], batches: Batches, held: _Held) -> list[Write]:
        """Commit what was played before and claim more while the rest is played; return what is to be written for it."""
        room = held.take(self._batch)
        turn = self._begin(shard, writes, room)
        try:
            played = [self._stepper.play(action) for action in batches.rest]
        except BaseException:
            turn.give_up()
            raise
        report, claim = turn.answers()
        held.give(len(writes) + room - len(claim.actions))
        batches.claim(claim.actions)
        if report is not None:
            batches.told(*self._stepper.accept(shard, writes, report))
        return played

    def _begin(self, shard: int, writes: list[Write], room: int) -> Turn:
        try:
            return self._turns.begin(shard, writes, room)
        except UNWRITABLE:  # nothing was sent
            writes[:] = [self._stepper.storable(write) for write in writes]
            return self._turns.begin(shard, writes, room)


class _Held:
    """The slots of a step that runs ahead. It never waits for more slots: nobody who holds slots does."""

    def __init__(self, slots: Slots, count: int) -> None:
        self._slots = slots
        self._count = count

    def take(self, wanted: int) -> int:
        room = self._slots.take(wanted, 0)
        self._count += room
        return room

    def give(self, count: int) -> None:
        self._count -= count
        self._slots.give(count)

    def give_all(self) -> None:
        self.give(self._count)

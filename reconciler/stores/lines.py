"""The lines of queues, where launches wait: the verbs of a worker.

A launch that may run stands in a line, which lies in the shard of its run: the commit that decides on the launch puts it
there. A line has a name, `<queue>/<level><- or !>/<fair key>/<function>` (`core.line`). Which lines of a queue have launches
is kept once more per queue, as *heads*: they are derived, may be late or wrong for a moment, and the resync sweep repairs
them. So a worker chooses among the heads (`pick`), and draws from the line (`draw`), which alone decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.audit import Ruling, Who


class Head(msgspec.Struct, frozen=True):
    """The first launch of a line.

    Attributes:
        shard: where the line lies.
        line: its name.
        place: of the first launch, ms since the epoch; of two the lower one is next.
        at: when it was seen, µs since the epoch by the store's clock: a line may be drawn empty and opened within one ms.
    """

    shard: int
    line: str
    place: int
    at: int


class Served(msgspec.Struct, frozen=True):
    """The state of a line after it was picked.

    Attributes:
        head: the line after the draw, with the place of the first launch left.
        left: launches left.
        cost: what the draw counts for its fair key: launches, by weight.
    """

    head: Head
    left: int
    cost: float = 0


class Pick(msgspec.Struct, frozen=True):
    """Chooses the line to draw from next.

    Attributes:
        shard: where it lies.
        line: its name; empty = none is for this worker now.
        lines: how many lines of the queue have launches.
    """

    shard: int = 0
    line: str = ""
    lines: int = 0


class Draw(msgspec.Struct, frozen=True):
    """Launches a worker has drawn, each with its own lease.

    Attributes:
        actions: their records, in the order they stood.
        left: how many launches are left in the line.
        head: the line after the draw.
    """

    actions: list[TaskAction]
    left: int
    head: Head


class GivenBack(msgspec.Struct, frozen=True):
    """A launch that was drawn and not begun; `incarnation` of its action."""

    action: ActionId
    launch: str
    incarnation: str


class QueueState(msgspec.Struct, frozen=True):
    """The rules of a queue.

    Attributes:
        paused: whether its workers are given nothing new.
        limit: how many launches may wait until submissions are refused; -1 = any number.
    """

    paused: bool = False
    limit: int = -1


class Turn(msgspec.Struct, frozen=True):
    """The place of an action in its line.

    Attributes:
        line: in which its launch stands; empty = in none.
        ahead: launches that stand before it there.
        due: when a step looks at the action, ms since the epoch; 0 = when something wakes it.
    """

    line: str = ""
    ahead: int = 0
    due: int = 0


class Lines(Protocol):
    """Answers questions about the lines of launches."""

    def announce(self, queue: str, heads: Sequence[Head] = ()) -> bool:
        """Note lines of a queue that have launches; tell whether the caller must send the queue a ticket.

        That is so when there are launches, the queue is not paused, and no ticket is on its way.
        """

    def pick(
        self,
        queue: str,
        *,
        worker: str = "",
        served: Sequence[Served] = (),
        first: bool = False,
        choose: bool = True,
    ) -> Pick:
        """Choose the line to draw from next.

        The highest level goes first, in it the fair key that was served least, in that the oldest launch. Now and then
        the oldest launch of all goes first, so that none waits for ever.

        Args:
            queue: whose lines.
            worker: its name in the registry of functions: it gets functions that it knows, and those that no living
                worker knows. Empty: it gets everything.
            served: the results for the lines picked before.
            first: the caller has just taken a ticket, so none is on its way.
            choose: whether to choose; else only `served` is noted.
        """

    def draw(self, shard: int, line: str, *, owner: str, limit: int, lease: int, least: int = 1) -> Draw:
        """Take the next launches of a line, each with a lease of `lease` ms: a part of the line, and at most `limit`.

        Of a short line `least` are taken all the same, as far as there are so many: a part of it would not be worth a draw.
        At most one worker ever gets a launch. What has ended or is being aborted leaves the line and is not given.
        """

    def give_back(
        self, shard: int, line: str, *, owner: str, launches: Sequence[GivenBack]
    ) -> tuple[Head, ...]:
        """Put launches that were drawn and not begun back to their places; return lines that were empty, to be announced.

        Fenced: launches that others have drawn meanwhile, or that have ended, stay as they are. Nothing is spent.
        """

    def prioritize(
        self, actions: Sequence[ActionId], priority: int, *, incarnation: str = "", by: Who | None = None
    ) -> tuple[int, tuple[Head, ...]]:
        """Give actions of one run another priority, move their launches; return how many live ones, and lines to announce.

        With `by` their records say who did it, among the newest 20 who did.
        """

    def move(self, queue: str, to: str) -> tuple[int, tuple[Head, ...]]:
        """Move all launches that wait in a queue to another one; return how many, and lines to announce."""

    def set_queue(
        self, queue: str, *, pause: bool | None = None, limit: int | None = None, note: Ruling | None = None
    ) -> QueueState:
        """Pause or resume a queue, and limit what may wait in it (-1: no limit); None: no change. Returns what holds now.

        A `note` of who did what is kept with it; its time is the store's.
        """

    def queues_with_rules(self) -> set[str]:
        """Name the queues that are paused or have a limit."""

    def rulings(self, queue: str) -> list[Ruling]:
        """Read the newest 100 notes of a queue, oldest first."""

    def launches_waiting(self) -> dict[str, int]:
        """Count how many launches stand in the lines of each queue that has any."""

    def turn(self, action: ActionId) -> Turn:
        """Return where the launch of an action stands, and when a step looks at it. For people: not read at one moment."""

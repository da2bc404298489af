"""Define what the archive asks of the store: seal an ended run, read it as a whole, and forget it once it is archived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from reconciler.api.action import RunId


class SealedRun(msgspec.Struct, frozen=True, order=True):
    """A run to which nothing can be added any more, in one incarnation of its name."""

    run: RunId
    incarnation: str = ""


class RawAction(msgspec.Struct, frozen=True, gc=False):
    """One action as it is stored.

    Attributes:
        name: of the action.
        ended: when it ended, ms; 0 = it has not.
        fields: of its record, as in `stores.records`.
        events: those of its events that the channel still holds, oldest first; JSON each.
    """

    name: str
    ended: int
    fields: dict[str, str]
    events: list[str] = []


class RawRun(msgspec.Struct, frozen=True, gc=False):
    """A whole run as it is stored: the source of an archive object, read only once.

    Attributes:
        run, incarnation: which one.
        created_at: when, ms.
        shared: shared parts of specs, by name; JSON each.
        actions: all of them, parents before children, `m2` before `m10`.
    """

    run: RunId
    incarnation: str
    created_at: int
    shared: dict[str, str]
    actions: list[RawAction]


class OldEvents(msgspec.Struct, frozen=True):
    """A piece of the results channel, reduced to events that a stored run will need.

    Attributes:
        events: position and JSON of each, oldest first.
        last: position up to which the channel was looked through.
        more: whether it goes on before the time asked for.
        oldest: when the first run of the shard was created that the store holds, ms; 0 = it holds none.
    """

    events: list[tuple[str, str]]
    last: str
    more: bool
    oldest: int


class Archiving(Protocol):
    """The verbs of the archive, shard by shard."""

    def seal(self, shard: int, *, before: int, limit: int, after: int = 0) -> tuple[list[SealedRun], int]:
        """Seal runs that have ended as a whole, and in which something ended before `before`.

        An ended run has no live action. From then on `create` refuses what is new in it (`CreateOutcome.SEALED`).

        Args:
            shard: which one.
            before: ms since the epoch.
            limit: most ended actions to look at.
            after: how many an earlier call looked at.

        Returns:
            Those sealed now or before and not archived yet, and how many were looked at; less than `limit`: that was all.
        """

    def recall(self, run: RunId) -> RawRun | None:
        """Read a run as a whole, with those of its events that the channel still holds; None when there is none."""

    def set_archived(self, shard: int, runs: Sequence[SealedRun]) -> None:
        """Note that sealed runs are in the archive: only now may `collect` with `archived` forget them."""

    def old_events(self, shard: int, *, before: int, limit: int, after: str = "") -> OldEvents:
        """Read the next `limit` events older than `before`, after `after`, or else after `set_spilled`."""

    def set_spilled(self, shard: int, last: str) -> None:
        """Note that all needed old events up to this position are in the archive; the position never goes back."""

    def take_turn(self, sweep: str, life: int) -> bool:
        """Take the turn to make a sweep, for `life` ms; False while somebody else has it."""

    def installation(self) -> str:
        """Return the name of this data set, drawn at random by who asks first; one that is begun anew has another."""

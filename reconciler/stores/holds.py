"""Holds: a run that others were made of is kept as long as they need it.

Who makes a run of another one holds the source first. Until the hold's time has passed, no record of the source is
forgotten, so it can be read whole; and as long as the holder is there, no object of the source is removed, because records
of the holder point to them. A hold is written before its holder exists: until its time has passed it needs none, and the
holder's records are refused once it has (`Store.create`). So a sweep that finds a hold whose time is over, and no holder,
may drop it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from reconciler.api.action import RunId

LIFE = 120_000
"""How long records of a source are held at a time, ms: renewed while they are read, and with each part that is stored."""


class RunLife(msgspec.Struct, frozen=True, order=True, gc=False):
    """A run in one incarnation of its name; a later run with that name is another one.

    Attributes:
        run: its name.
        incarnation: which one; empty when a release before began it.
    """

    run: RunId
    incarnation: str = ""

    def __str__(self) -> str:
        return f"{self.run}@{self.incarnation}" if self.incarnation else str(self.run)

    @classmethod
    def parse(cls, text: str) -> RunLife:
        """Read what `str` wrote."""
        path, _, incarnation = text.partition("@")
        return cls(RunId(*path.split("/")), incarnation)


class Hold(msgspec.Struct, frozen=True, order=True, gc=False):
    """A hold: one run is kept for another.

    Attributes:
        source: the run that is held.
        holder: the run that was made of it.
        until: until when its records are kept, ms since the epoch.
    """

    source: RunLife
    holder: RunId
    until: int


class Holds(Protocol):
    """The holds on the runs of each shard."""

    def hold(self, source: RunLife, holder: RunId, life: int, *, archived: bool = False) -> int:
        """Hold a run, its records for `life` ms; an earlier hold is replaced.

        Args:
            source: which run.
            holder: for which run.
            life: ms.
            archived: also when it is not stored; whoever says so has to find out whether its objects are there, afterwards.

        Returns:
            Until when, ms since the epoch; 0 when the run is not stored and nobody holds it: its objects may be gone.
        """

    def holders(self, source: RunLife) -> tuple[RunId, ...]:
        """List the runs that hold this one: those that were made of it, or are being made now."""

    def holds(self, shard: int) -> list[Hold]:
        """List all holds on runs of a shard."""

    def let_go(self, shard: int, holds: Iterable[Hold]) -> None:
        """Drop these holds, except those renewed since they were read."""

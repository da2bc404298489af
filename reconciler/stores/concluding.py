"""The end of attempts together with the steps that follow from it: the records of `Store.conclude`."""

from __future__ import annotations

from enum import Enum

import msgspec

from reconciler.stores.base import CommitReport, Finished, Write


class Concluded(msgspec.Struct, frozen=True):
    """The end of one launch, and what the step after it decides while the record is as it was drawn.

    Attributes:
        finished: how it ended.
        write: what is decided; its `original` is what a claim would give once the outcome is recorded, its token one above
            that of the draw. None = the outcome is only recorded.
    """

    finished: Finished
    write: Write | None = None


class Ending(Enum):
    """The result for one launch."""

    WRITTEN = "written"
    """The outcome was taken, and its step is committed: by this call, or by the same one before, whose answer got lost."""
    RECORDED = "recorded"
    """The outcome is stored and its action is due, as after `finish_attempts`: it is not as it was drawn."""
    SUPERSEDED = "superseded"


class ConcludeReport(msgspec.Struct, frozen=True):
    """Results in the order asked, and the commit of those that were written; None: none was to be."""

    endings: tuple[Ending, ...]
    commit: CommitReport | None = None

"""Query the index of the archive: runs by project, days and contents, in a bounded number of requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from reconciler.api.errors import BlobUnavailable
from reconciler.archive.index import Read, Row, list_index, read_rows
from reconciler.stores.objects import BlobStore

_TRIES = 5
"""How often objects of the index may be replaced while they are read."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A query for archived runs. Empty fields exclude nothing.

    Attributes:
        project: of the runs.
        since, until: the days they ended on, `YYYY-MM-DD`, UTC, both included.
        domain: of the runs.
        name: what the names of the runs begin with.
        task, phase, code: some action of the run has this task, ended like this, had this last error; together: one does.
        labels: names and values that the root has.
    """

    project: str
    since: str
    until: str
    domain: str = ""
    name: str = ""
    task: str = ""
    phase: str = ""
    code: str = ""
    labels: dict[str, str] = {}

    def fits(self, row: Row) -> bool:
        """Tell whether a run fits the query."""
        return (
            row.domain == (self.domain or row.domain)
            and row.run.startswith(self.name)
            and self.labels.items() <= row.labels.items()
            and self.matching(row) > 0
        )

    def matching(self, row: Row) -> int:
        """Count the actions of a run with this task, phase and error code."""
        return sum(
            group.count
            for group in row.groups
            if group.task == (self.task or group.task)
            and group.phase == (self.phase or group.phase)
            and group.code == (self.code or group.code)
        )


class Found(NamedTuple):
    """The answer to a query.

    Attributes:
        rows: the runs, newest end first.
        requests: how many requests to S3 it took.
        damaged: URIs of objects of the index of which something cannot be read; what they tell of may be missing.
    """

    rows: Sequence[Row]
    requests: int
    damaged: Sequence[str]


def ask(blobs: BlobStore, question: Question) -> Found:
    """Search the index: one request for each 1,000 objects of the days, and one for each object, side by side.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    read, requests = _read(blobs, question)
    rows = [row for row in read.rows.values() if question.fits(row)]
    rows.sort(key=lambda row: (-row.ended_at, row.key))
    return Found(rows, requests, read.damaged)


def _read(blobs: BlobStore, question: Question) -> tuple[Read, int]:
    requests = 0
    for _ in range(_TRIES):
        found, lists = list_index(blobs, question.project, question.since, question.until)
        read = read_rows(blobs, found)
        requests += lists + read.requests
        if not read.gone:  # else somebody put them together meanwhile: their lines lie elsewhere
            return read, requests
    raise BlobUnavailable(
        f"the index of {question.project} is rewritten all the time; ask again, or for fewer days"
    )

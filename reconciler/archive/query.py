"""Query the index of the archive: runs by project, days and contents, in a bounded number of requests."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Self

import msgspec

from reconciler.api.errors import BlobUnavailable, InvalidSpec
from reconciler.archive.index import Key, Read, Row, list_index, read_rows
from reconciler.stores.objects import BlobStore

_TRIES = 5
"""How often objects of the index may be replaced while they are read."""


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A query for runs. What is left out excludes nothing; an empty text is refused when it is asked.

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
    domain: str | None = None
    name: str | None = None
    task: str | None = None
    phase: str | None = None
    code: str | None = None
    labels: dict[str, str] = {}

    def checked(self) -> Self:
        """Return the query when no field of it is empty: of a variable nobody has set, it would choose all runs.

        Not checked when it is made, as plans of earlier releases have empty fields.

        Raises:
            InvalidSpec: a field is empty.
        """
        for field in msgspec.structs.fields(self):
            if getattr(self, field.name) == "":
                raise InvalidSpec(not_empty(field.name, needed=field.required))
        return self

    def fits(self, row: Row) -> bool:
        """Tell whether a run fits the query."""
        return (
            row.domain == (self.domain or row.domain)
            and row.run.startswith(self.name or "")
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


def not_empty(field: str, *, needed: bool = False) -> str:
    """Say in a sentence that a field of a search is empty, and what to do."""
    return (
        f"{field} must not be empty: give it a value{'' if needed else ', or leave it out, which means all'}"
    )


class Found(NamedTuple):
    """The answer to a query.

    Attributes:
        rows: the runs, newest end first.
        requests: how many requests to S3 it took.
        damaged: URIs of objects of the index of which something cannot be read; what they tell of may be missing.
        stored: keys of those runs that the store still has.
    """

    rows: Sequence[Row]
    requests: int
    damaged: Sequence[str]
    stored: Collection[Key] = ()


def ask(blobs: BlobStore, question: Question) -> Found:
    """Search the index: one request for each 1,000 objects of the days, and one for each object, side by side.

    Raises:
        InvalidSpec: a field of the question is empty.
        BlobUnavailable: the server does not answer.
    """
    read, requests = _read(blobs, question.checked())
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

"""Query the index of the archive: runs by project, days and contents, in a bounded number of requests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Self

import msgspec

from reconciler.api.errors import BlobUnavailable, InvalidSpec
from reconciler.archive.index import Key, Read, Row, list_index, read_rows
from reconciler.archive.question_fields import (
    ENDED,
    PHASES,
    day_problem,
    days_problem,
    label_problem,
    name_problem,
    phase_problem,
    place_problem,
    text_problem,
)
from reconciler.stores.objects import BlobStore

_TRIES = 5
"""How often objects of the index may be replaced while they are read."""


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A query for runs. What is left out excludes nothing; what no run can have is refused when it is asked.

    Attributes:
        project: of the runs.
        since, until: the days they ended on, `YYYY-MM-DD`, UTC, both included.
        domain: of the runs.
        name: what the names of the runs begin with.
        task, phase, code: some action of the run has this task (its whole name, as `photos.thumbnail`), ended like this, had
            this last error; together: one does.
        labels: names and values that the root has, of those it was submitted with.
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

    def checked(self, phases: Iterable[str] = PHASES) -> Self:
        """Return the query when a run can fit it; what cannot be met would find nothing, in silence.

        Not checked when it is made, as plans of earlier releases have empty fields.

        Args:
            phases: those in which the actions can be.

        Raises:
            InvalidSpec: says of each wrong field what to write.
        """
        problems = self._no_texts() or [
            *(place_problem(name, value) for name in ("project", "domain") if (value := getattr(self, name))),
            *(day_problem(name, getattr(self, name)) for name in ("since", "until")),
            name_problem(self.name or "", begins=True),
            phase_problem(self.phase, phases) if self.phase else "",
            *(label_problem(name, value) for name, value in self.labels.items()),
        ]
        if not any(problems):
            problems = [days_problem(self.since, self.until)]
        if any(problems):
            raise InvalidSpec("; ".join(filter(None, problems)))
        return self

    def _no_texts(self) -> list[str]:
        """Find the fields that are of another type, or empty."""
        texts = [field for field in msgspec.structs.fields(self) if field.name != "labels"]
        given = [(field, getattr(self, field.name)) for field in texts]
        problems = [
            text_problem(field.name, value, needed=field.required)
            for field, value in given
            if field.required or value is not None
        ]
        if not isinstance(self.labels, dict):
            problems.append(f"labels must be a dict of names and values, got {type(self.labels).__name__}")
        return list(filter(None, problems))

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
        InvalidSpec: no archived run can fit the question.
        BlobUnavailable: the server does not answer.
    """
    read, requests = _read(blobs, question.checked(ENDED))
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

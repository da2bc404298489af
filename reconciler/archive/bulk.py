"""Store a request for many runs: its plan, before anything is done, and how far it has come.

    _archive/bulk/<project>/<name>/plan.ndjson.gz           what was asked, by whom, and a line for each run
    _archive/bulk/<project>/<name>/done-<number>.ndjson.gz   results of runs, up to that number of them

Who goes on after a death reads both: the runs are those that were chosen first, whatever fits the question by then, and
those that are marked are left alone.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec

from reconciler.api.audit import Who
from reconciler.api.errors import (
    ArchiveDamaged,
    ArchiveTooNew,
    ArchiveUnreadable,
    BlobExists,
    BlobNotFound,
    InvalidSpec,
)
from reconciler.archive.layout import BULK, SUFFIX, bulk_folder
from reconciler.archive.packing import pack, unpack
from reconciler.archive.query import Question
from reconciler.stores.objects import BlobStore, folders_in

VERSION = 1
"""Version of the format; a reader refuses a higher one."""
_PLAN = "plan"
_DONE = "done-"
_encode = msgspec.json.Encoder().encode


class BulkVerb(enum.StrEnum):
    """The verb a bulk applies to each run."""

    RERUN = "rerun"
    """All of it again, as a new run."""
    RECOVER = "recover"
    """A new run that goes on from what succeeded."""
    ABORT = "abort"
    """Stop it."""


class BulkPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The question and the verb of a bulk, as it is stored.

    Attributes:
        version: of the format.
        name, project: of the bulk.
        verb: a `BulkVerb`.
        by: who asked.
        at: when, ms since the epoch.
        count: of how many runs.
        reason: of an abort.
        question: what chose the runs; None: they were named.
        runs: each as `project/domain/run@incarnation`, in the order in which they are done.
    """

    version: int = VERSION
    name: str
    project: str
    verb: str
    by: Who
    at: int
    count: int
    reason: str = ""
    question: Question | None = None
    runs: tuple[str, ...] = ()


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of a bulk for one run.

    Attributes:
        run: which one, `project/domain/run@incarnation`.
        made: the run that was made of it; empty for an abort, and when it was refused.
        outcome: of an abort; or that there was nothing to recover.
        refused: why nothing was done, a sentence; empty = it was.
    """

    run: str
    made: str = ""
    outcome: str = ""
    refused: str = ""


_plan = msgspec.json.Decoder(BulkPlan)
_line = msgspec.json.Decoder(Done)


def write_plan(blobs: BlobStore, plan: BulkPlan) -> None:
    """Store a plan, once.

    Raises:
        InvalidSpec: there is a bulk of this name.
        BlobUnavailable: the server does not answer; it may have been stored.
    """
    head = _encode(msgspec.structs.replace(plan, runs=())).decode()
    lines = [head, *(_encode(Done(run)).decode() for run in plan.runs)]
    try:
        blobs.put(_uri(blobs, plan.project, plan.name, _PLAN), pack(lines), overwrite=False)
    except BlobExists:
        raise InvalidSpec(
            f"the bulk {plan.name} of {plan.project} exists: `reconciler bulk resume {plan.name}` goes on with it, or give "
            "the new one another name"
        ) from None


def read_plan(blobs: BlobStore, project: str, name: str) -> BulkPlan:
    """Read a stored plan, with its runs.

    Raises:
        BlobNotFound: there is none of this name.
        ArchiveDamaged, ArchiveTooNew: it cannot be read as a whole.
        BlobUnavailable: the server does not answer.
    """
    uri = _uri(blobs, project, name, _PLAN)
    try:
        data = blobs.get(uri)
    except BlobNotFound:
        raise BlobNotFound(
            f"there is no bulk {name} of {project}, or it is forgotten: name one that `reconciler bulk list` shows"
        ) from None
    unpacked = unpack(data)
    try:
        plan = _plan.decode(unpacked.lines[0])
        if plan.version > VERSION:
            raise ArchiveTooNew(uri, plan.version, VERSION)
        runs = tuple(_line.decode(line).run for line in unpacked.lines[1:])
    except (IndexError, msgspec.DecodeError) as error:
        raise ArchiveDamaged(uri, "its lines cannot be read") from error
    if unpacked.lost or len(runs) != plan.count:
        raise ArchiveDamaged(uri, f"{len(runs)} of {plan.count} runs can be read")
    return msgspec.structs.replace(plan, runs=runs)


def mark_done(blobs: BlobStore, plan: BulkPlan, upto: int, done: Sequence[Done]) -> None:
    """Note the results of runs; `upto` is the number of the first run that is still to be done.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    uri = _uri(blobs, plan.project, plan.name, f"{_DONE}{upto:08d}")
    with suppress(BlobExists):  # somebody who went on at the same time did the same
        blobs.put(uri, pack(_encode(each).decode() for each in done), overwrite=False)


def read_done(blobs: BlobStore, plan: BulkPlan) -> list[Done]:
    """Read the results noted so far, in the order of the plan, without a gap.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    by_run: dict[str, Done] = {}
    start, after = blobs.uri(f"{bulk_folder(plan.project, plan.name)}{_DONE}"), ""
    while page := blobs.find(start, after=after):
        after = page[-1].uri
        for one in page:
            by_run.update((done.run, done) for done in _readable(unpack(blobs.get(one.uri)).lines))
    found = []
    for run in plan.runs:
        if run not in by_run:
            break
        found.append(by_run[run])
    return found


def forget_bulks(blobs: BlobStore, before: int) -> int:
    """Remove the bulks that were planned before a time, ms since the epoch; returns how many.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    gone = 0
    for project in folders_in(blobs, blobs.uri(BULK)):
        for name in folders_in(blobs, blobs.uri(BULK, project)):
            if _planned_at(blobs, project, name) < before:
                blobs.delete_prefix(blobs.uri(BULK, project, name))
                gone += 1
    return gone


def _planned_at(blobs: BlobStore, project: str, name: str) -> int:
    """Tell when a bulk was planned; if it cannot be read, when its last object was written."""
    try:
        return read_plan(blobs, project, name).at
    except (BlobNotFound, ArchiveUnreadable):
        found = blobs.find(f"{blobs.uri(BULK, project, name)}/")
        return int(1000 * max((one.at for one in found), default=0))


def _readable(lines: Iterable[bytes]) -> Iterable[Done]:
    for line in lines:
        with suppress(
            msgspec.DecodeError
        ):  # of a damaged mark: its runs are done again, which finds them done
            yield _line.decode(line)


def _uri(blobs: BlobStore, project: str, name: str, part: str) -> str:
    return blobs.uri(f"{bulk_folder(project, name)}{part}{SUFFIX}")

"""Read the outputs of actions from S3, and say of such that cannot be read how they are made again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from reconciler.api.action import TaskAction
from reconciler.api.errors import ActionEnded, ActionFailed, BlobCorrupt, BlobNotFound, ReconcilerError
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import ErrorKind
from reconciler.client.waiting import document_of, ended_error
from reconciler.core.events import prefix_of
from reconciler.stores.ended import AnyEnd
from reconciler.stores.objects import BlobStore
from reconciler.stores.outputs import ActionFiles

T = TypeVar("T")
_AT_ONCE = 16
"""Requests to S3 at the same time."""
_NAMED = 20
"""Actions a sentence names at most."""


def read_outputs(blobs: BlobStore, record: AnyEnd, limit: int) -> bytes:
    """Read the outputs document of a succeeded action; `{}` when it has none.

    Args:
        blobs: where it lies.
        record: the action.
        limit: largest document that is read, in bytes; 0 = any.

    Raises:
        BlobNotFound, BlobCorrupt: they cannot be read; it says what makes them again.
        BlobUnavailable: the server does not answer.
    """
    try:
        return document_of(record, lambda ref: blobs.get(ref.uri, sha256=ref.sha256, limit=limit))
    except (BlobNotFound, BlobCorrupt) as error:
        if _is_too_large(record, limit):
            raise
        what = str(error).removesuffix(" Check the URI.")
        raise type(error)(f"{what} What makes these outputs again: {way_round([record])}") from error


def read_traceback(blobs: BlobStore, record: TaskAction, limit: int) -> str:
    """Read the traceback of a failed action's function, for people; empty when there is none that can be read."""
    if record.phase is not ActionPhase.FAILED:
        return ""
    with suppress(ReconcilerError):
        return ActionFiles(blobs, prefix_of(record), limit=limit).read_error()[0].traceback
    return ""


def read_outcomes(
    blobs: BlobStore, records: Sequence[AnyEnd], decode: Callable[[bytes], T], limit: int
) -> list[T | ActionEnded]:
    """Read the results or errors of ended actions, side by side, in order; of outputs that cannot be read the error.

    Raises:
        BlobCorrupt: some are larger than the limit.
        BlobUnavailable: the server does not answer.
    """

    def outcome(record: AnyEnd) -> bytes | ActionEnded:
        ended = ended_error(record)
        if ended is not None:
            return ended
        try:
            return read_outputs(blobs, record, limit)
        except (BlobNotFound, BlobCorrupt) as error:
            if _is_too_large(record, limit):
                raise
            failed = ActionFailed(record.id, type(error).__name__, str(error), str(ErrorKind.SYSTEM))
            failed.__cause__ = error
            return failed

    if sum(map(_is_far, records)) < 2:  # no thread for one
        found = list(map(outcome, records))
    else:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="outcomes") as pool:
            found = list(pool.map(outcome, records))
    return [decode(each) if isinstance(each, bytes) else each for each in found]


def _is_far(record: AnyEnd) -> bool:
    """Tell whether the outputs lie in S3 alone."""
    ref = record.status.outputs
    return ref is not None and ref.inline is None


def _is_too_large(record: AnyEnd, limit: int) -> bool:
    """Tell whether outputs are larger than their reader takes: then nothing is wrong with them."""
    ref = record.status.outputs
    return bool(limit) and ref is not None and ref.size > limit


def way_round(gone: Sequence[AnyEnd], named: Collection[str] = ()) -> str:
    """Name the commands that run actions of a run again, with those that somebody has named already."""
    run = gone[0].id.run_id
    names = sorted({*named, *(record.id.action for record in gone)})
    if len(names) > _NAMED:
        return f"`reconciler rerun {run}`"
    options = " ".join(f"--again {name}" for name in names)
    return f"`reconciler fork {run} {options}`, or all with `reconciler rerun {run}`"

"""Forget runs that are still stored and shall not be remembered (R91): at once, not when their retention is over.

Their folders are noted before a record goes, so a death anywhere is followed by the same again. What owes clean-up stays,
with all above it, and so does what somebody reads who makes another run of it, until the next time; a run that has no root
yet, until its retention is over: who stores the rest of it finds what he has stored. A run of which something was aborted
or timed out waits ten minutes, as its worker may still write.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from reconciler.api.action import RunId, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.archive.folders import folders_of
from reconciler.archive.requests import DeleteRequest
from reconciler.core.status_conditions import terminal_time
from reconciler.stores.base import Store
from reconciler.stores.counts import RunCounts
from reconciler.stores.garbage import Life
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import BlobStore

_PAGE = 500
"""Runs, or actions, that are looked at together."""
_WRITING = 600_000
"""How long after the end of a run a worker may still write that was not heard of before it was overruled, ms."""


class StoredLife(msgspec.Struct, frozen=True):
    """A stored run that has ended.

    Attributes:
        life: which one.
        actions: how many it has.
        is_settled: else its submitter has not stored the root yet, or what was aborted may still write.
    """

    life: RunLife
    actions: int
    is_settled: bool


def stored_lives(store: Store, request: DeleteRequest) -> Iterator[StoredLife]:
    """Find the stored runs that are meant and have ended.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    if request.runs:
        for life in map(RunLife.parse, request.runs):
            found = _stored(store, life.run, store.counts(life.run))
            if found is not None and found[0].life == life:
                yield found[0]
        return
    page = store.list_runs(_PAGE)
    while page:
        for summary in page:
            if request.covers(summary.id) and summary.created_at < request.at:
                found = _stored(store, summary.id, summary.counts)
                if found is not None and found[1] < request.at:
                    yield found[0]
        page = store.list_runs(_PAGE, page[-1])


def _stored(store: Store, run: RunId, counts: RunCounts | None) -> tuple[StoredLife, int] | None:
    """Look at a run that has ended, and when it did."""
    if counts is None or counts.ended < counts.total:
        return None
    first = next(iter(store.list_actions(run, limit=1).actions), None)
    if first is None:
        return None
    life = RunLife(run, first.metadata.incarnation)
    ended = terminal_time(first.status)
    overruled = any(counts.phases.get(phase) for phase in (ActionPhase.ABORTED, ActionPhase.TIMED_OUT))
    is_settled = not first.spec.parent_action_name and not (overruled and store.now() - ended < _WRITING)
    return StoredLife(life, counts.total, is_settled), ended


def forget_run(store: Store, blobs: BlobStore, life: RunLife) -> list[TaskAction]:
    """Forget what is stored of a run that ended; return what has gone.

    Raises:
        StoreUnavailable: the store does not answer; it may be done again.
    """
    shard, before = store.shard_of(life.run), store.now()
    gone: list[TaskAction] = []
    while going := store.collectable(shard, before=before, limit=_PAGE, only=life):
        store.note_garbage(shard, {Life.of(action): folders_of(blobs, action) for action in going})
        forgotten = store.collect(shard, before=before, limit=_PAGE, noted=True, only=life).deleted
        if not forgotten:
            break
        gone += forgotten
    return gone


def incarnation_of(store: Store, run: RunId) -> str | None:
    """Tell which run of a name is stored; None: none is.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    first = store.list_actions(run, limit=1).actions
    return first[0].metadata.incarnation if first else None

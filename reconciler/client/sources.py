"""A run that others are made of: held while it is read, so that it is read whole, and checked before anything is stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from reconciler.api.action import RunId, TaskAction
from reconciler.api.errors import ActionNotFound, BlobCorrupt, BlobNotFound, SourceUnusable
from reconciler.archive.archive import Archive
from reconciler.archive.record import ArchivedAction
from reconciler.archive.requests import deletion_of
from reconciler.client.reading import way_round
from reconciler.core.derivation import Records
from reconciler.core.layout import run_folder
from reconciler.core.paths import input_path
from reconciler.core.status_conditions import terminal_time
from reconciler.core.times import iso
from reconciler.stores.base import Store
from reconciler.stores.holds import LIFE, RunLife
from reconciler.stores.objects import BlobStore

_PAGE = 5000
_ASKED_AT_ONCE = 16
"""Requests to S3 at the same time."""


class SourceRun(Protocol):
    """A run that has ended, with all its records, read from the store or the archive."""

    @property
    def life(self) -> RunLife:
        """The incarnation of the run."""

    @property
    def records(self) -> Records:
        """Its actions by name."""

    @property
    def archived(self) -> bool:
        """Tell whether it was read from the archive."""


class Source(msgspec.Struct, frozen=True):
    """A run from the store or the archive: see `SourceRun`."""

    life: RunLife
    records: Records
    archived: bool = False


class Grip:
    """The hold that one new run has on its source, and on what the source's records point to.

    Args:
        store: the records.
        holder: the run that is made.
    """

    def __init__(self, store: Store, holder: RunId) -> None:
        self._store = store
        self.holder = holder
        self._ends: dict[RunLife, int] = {}

    def take(self, life: RunLife, *, archived: bool = False) -> bool:
        """Hold one more run; tell whether it is stored. An archived run is held in any case, but its objects may be gone."""
        end = self._store.hold(life, self.holder, LIFE, archived=archived)
        if end:
            self._ends.setdefault(life, end)
        return end > 0

    def renew(self) -> int:
        """Renew all holds; return until when they last.

        Raises:
            SourceUnusable: one of them is gone, or part of it may be: it was not held for a while.
        """
        for life, before in self._ends.items():
            end = self._store.hold(life, self.holder, LIFE)
            if not end or end - LIFE > before:
                raise SourceUnusable(
                    f"the run {life.run} was held no longer while {self.holder} was made of it, so part of it may be gone: "
                    "this process was stopped for a while. Try again; where an idempotency key was given, with the same"
                )
            self._ends[life] = end
        return min(self._ends.values())

    def loosen(self) -> None:
        """Allow the store to forget the records from now on; objects stay as long as the holder does."""
        for life in self._ends:
            self._store.hold(life, self.holder, 0)


def read_source(store: Store, run: RunId, incarnation: str, grip: Grip) -> Source:
    """Read a run, and go on holding it.

    Args:
        store: the records.
        run: which one.
        incarnation: which one of its name; empty: the one there is.
        grip: holds it.

    Raises:
        ActionNotFound: it is not stored, or a later one has its name.
    """
    first = store.list_actions(run.checked(), limit=1).actions
    there = first[0].metadata.incarnation if first else ""
    if first and incarnation not in {"", there}:
        raise ActionNotFound(run, used_again=True, incarnation=incarnation)
    if not first or not grip.take(RunLife(run, there)):
        raise ActionNotFound(run, incarnation=incarnation)
    records: dict[str, TaskAction] = {}
    page = store.list_actions(run, limit=_PAGE)
    while page.actions:
        records.update((record.id.action, record) for record in page.actions)
        if not page.next:
            break
        grip.renew()
        page = store.list_actions(run, after=page.next, limit=_PAGE)
    if not records:  # the same call by somebody else has made the run meanwhile, and let go of the source
        raise ActionNotFound(run, incarnation=incarnation)
    return Source(RunLife(run, there), records)


def read_archived(archive: Archive, store: Store, run: RunId, incarnation: str, grip: Grip) -> Source | None:
    """Read a run from the archive, and hold its objects; None when the archive has none of this name.

    Raises:
        SourceUnusable: part of it cannot be read, or its objects are being removed.
        ArchiveDamaged, ArchiveTooNew: nothing of it can be read.
    """
    found = archive.read_run(run, incarnation)
    if found is None:
        return None
    if found.damage and not found.complete:  # events are not needed
        raise SourceUnusable(f"the run {run} cannot be used again as a whole: {found.damage}")
    life = RunLife(run, found.incarnation)
    # as long as the new run is there nobody drops a hold of an earlier call for it
    before = grip.holder in store.holders(life) and store.counts(grip.holder) is not None
    grip.take(life, archived=True)
    if not (before or set(store.holders(life)) - {grip.holder}) and _goes(store, life):
        raise SourceUnusable(f"the objects of the run {run} are being removed from S3: submit it anew")
    return Source(life, dict(found.actions), archived=True)


def check_deletion(blobs: BlobStore, source: SourceRun) -> None:
    """Refuse a run whose deletion somebody asked for: what it gave would live on in the new run.

    Asked only once the run is held: a request that comes later finds the hold, and says that the objects stay.

    Raises:
        SourceUnusable: somebody asked for it.
    """
    ended = max((_end(record) for record in source.records.values()), default=0)
    request = deletion_of(blobs, source.life, ended)
    if request is not None:
        raise SourceUnusable(
            f"the run {source.life.run} cannot be used again: its deletion was requested at {iso(request.at)} by "
            f"{request.by}. Submit it anew"
        )


def _end(record: TaskAction) -> int:
    return record.ended_at if isinstance(record, ArchivedAction) else terminal_time(record.status)


def _goes(store: Store, life: RunLife) -> bool:
    """Tell whether the collector has noted folders of a run for removal; it may be removing them now."""
    notes = store.garbage(store.shard_of(life.run))
    return any(
        folders and (note.action.run_id, note.incarnation) == (life.run, life.incarnation)
        for note, folders in notes.items()
    )


def objects_of(record: TaskAction, source: RunLife) -> tuple[RunLife, ...]:
    """Find the runs in whose folders the inputs or the outputs of a record lie."""
    lineage = record.metadata.lineage
    known = [source, *(RunLife.parse(text) for text in (lineage.objects if lineage else ()))]
    ref = record.status.outputs
    uris = [record.spec.input_uri, ref.uri if ref else ""]
    return tuple(
        life for life in known if any(f"/{run_folder(life.run, life.incarnation)}/" in uri for uri in uris)
    )


def check_objects(
    blobs: BlobStore, reused: Sequence[TaskAction], again: Sequence[TaskAction], named: Collection[str] = ()
) -> None:
    """Refuse when something is gone from S3 that a new run would point to, or was cut: outputs, and inputs we stored.

    Outputs of another size than when they were written are as good as gone: nobody is ever given them. The size of inputs
    is not known, so they are read, unless they are large.

    Args:
        blobs: hold them.
        reused: their outputs are used.
        again: their inputs are.
        named: actions that somebody wants to run again already.

    Raises:
        SourceUnusable: something is gone, or was cut.
    """
    outputs = [
        (record, ref.uri, ref.size)
        for record in reused
        if (ref := record.status.outputs) is not None and ref.inline is None
    ]
    inputs = [record for record in again if record.spec.inputs_digest and record.spec.inputs is None]
    with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="source") as pool:
        why = list(pool.map(lambda record: _loss_of_inputs(blobs, record), inputs))
    lost = [(record, what) for record, what in zip(inputs, why, strict=True) if what]
    if lost:
        raise SourceUnusable(
            f"{len(lost)} of {len(inputs)} inputs that would be used again {lost[0][1]}, as those of {lost[0][0].id}. "
            "Submit it anew, or in Python `Client.fork` with `specs` for such actions"
        )
    gone, cut = _missing(blobs, outputs)
    if gone or cut:
        found, what, who = (gone, _GONE, _WHO) if gone else (cut, _CHANGED, f"they have {_CUT}")
        rest = f", and {len(cut)} have {_CUT}" if gone and cut else ""
        raise SourceUnusable(
            f"{len(found)} of {len(outputs)} outputs that would be used again {what}, as those of {found[0].id}: "
            f"{who}{rest}. Run them again: {way_round([*gone, *cut], named)}"
        )


_WHO = "a rule of the bucket, or somebody, has deleted them"
_CUT = "another size than when they were written"
_GONE = "are gone from S3"
_CHANGED = "were changed in S3"
_READ = 1 << 20
"""Bytes of the largest inputs that are read before they are used again."""


def _loss_of_inputs(blobs: BlobStore, record: TaskAction) -> str:
    """Say what has become of the inputs of an action; empty when they are what they were, or large and there."""
    uri = input_path(record.spec.input_uri)
    found = blobs.stat(uri)
    try:
        if found is not None and found.size <= _READ:
            blobs.get(uri, sha256=record.spec.inputs_digest)
    except BlobNotFound:
        found = None
    except BlobCorrupt:
        return _CHANGED
    return _GONE if found is None else ""


def _missing(
    blobs: BlobStore, asked: Sequence[tuple[TaskAction, str, int]]
) -> tuple[list[TaskAction], list[TaskAction]]:
    """Find of which actions the object is gone, and of which it has another size than is known; 0: it is not known."""
    with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="source") as pool:
        found = list(pool.map(lambda each: blobs.stat(each[1]), asked))
    pairs = list(zip(asked, found, strict=True))
    gone = [record for (record, _, _), stat in pairs if stat is None]
    cut = [record for (record, _, size), stat in pairs if stat is not None and size and stat.size != size]
    return gone, cut

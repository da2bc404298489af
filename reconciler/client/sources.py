"""A run that others are made of: held while it is read, so that it is read whole, and checked before anything is stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from reconciler.api.action import RunId, TaskAction
from reconciler.api.errors import ActionNotFound, SourceUnusable
from reconciler.archive.archive import Archive
from reconciler.archive.record import ArchivedAction
from reconciler.archive.requests import deletion_of
from reconciler.core.derivation import Records
from reconciler.core.layout import run_folder
from reconciler.core.paths import INPUTS_FILE
from reconciler.core.status_conditions import terminal_time
from reconciler.core.times import iso
from reconciler.stores.base import Store
from reconciler.stores.holds import LIFE, RunLife
from reconciler.stores.objects import BlobStore

_PAGE = 5000
_NAMED = 20
"""Actions a sentence names at most."""
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
    if found.damage:
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
    """Refuse when something is gone from S3 that a new run would point to: outputs, and inputs we stored.

    Args:
        blobs: hold them.
        reused: their outputs are used.
        again: their inputs are.
        named: actions that somebody wants to run again already.

    Raises:
        SourceUnusable: something is gone.
    """
    outputs = [
        (record, ref.uri)
        for record in reused
        if (ref := record.status.outputs) is not None and ref.inline is None
    ]
    inputs = [
        (record, f"{record.spec.input_uri.removesuffix(f'/{INPUTS_FILE}')}/{INPUTS_FILE}")
        for record in again
        if record.spec.inputs_digest and record.spec.inputs is None
    ]
    gone = _gone(blobs, inputs)
    if gone:
        raise SourceUnusable(
            f"{len(gone)} of {len(inputs)} inputs that would be used again are gone from S3, as those of {gone[0].id}: "
            f"{_WHO}. Submit it anew, or in Python `Client.fork` with `specs` for such actions"
        )
    gone = _gone(blobs, outputs)
    if gone:
        raise SourceUnusable(
            f"{len(gone)} of {len(outputs)} outputs that would be used again are gone from S3, as those of {gone[0].id}: "
            f"{_WHO}. Run them again: {_way_round(gone, named)}"
        )


_WHO = "a rule of the bucket, or somebody, has deleted them"


def _gone(blobs: BlobStore, asked: Sequence[tuple[TaskAction, str]]) -> list[TaskAction]:
    with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="source") as pool:
        found = list(pool.map(lambda each: blobs.stat(each[1]), asked))
    return [record for (record, _), stat in zip(asked, found, strict=True) if stat is None]


def _way_round(gone: Sequence[TaskAction], named: Collection[str]) -> str:
    """Name the command that runs all of them again, whatever ran again without."""
    run = gone[0].id.run_id
    names = sorted({*named, *(record.id.action for record in gone)})
    if len(names) > _NAMED:
        return f"`reconciler rerun {run}`"
    options = " ".join(f"--again {name}" for name in names)
    return f"`reconciler fork {run} {options}`, or all with `reconciler rerun {run}`"

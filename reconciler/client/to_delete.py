"""Say what would be deleted of a run, or of a project: runs in the archive, and such as are stored alone (R91)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from reconciler.api.action import RunId, TaskAction
from reconciler.api.errors import ActionNotFound, ArchiveTooNew, ArchiveUnreadable, InvalidSpec
from reconciler.archive.archive import Archive, archived_lives
from reconciler.archive.index import Row
from reconciler.archive.layout import day_of
from reconciler.archive.query import Question, ask
from reconciler.archive.record import ArchivedRun
from reconciler.archive.requests import FIRST, LAST, DeleteRequest
from reconciler.client.choosing import records_of, stored_runs
from reconciler.client.handles import Handles
from reconciler.core.status_conditions import terminal_time
from reconciler.stores.base import Store
from reconciler.stores.holds import RunLife

_DAY = 86_400_000
_Archived = Mapping[RunLife, ArchivedRun | None]
"""Runs in the archive, each as it can be read; None: it cannot."""


class _Stored(msgspec.Struct):
    """A stored run that has ended.

    Attributes:
        life: which one.
        first: its first record.
        actions: how many it has.
        ended_at: when, ms since the epoch.
    """

    life: RunLife
    first: TaskAction
    actions: int
    ended_at: int

    def lies_in(self, archived: _Archived) -> bool:
        """Tell whether the archive has it as well; in doubt it does."""
        return any(
            _plain(life) == self.life and (run is None or self._is(run)) for life, run in archived.items()
        )

    def _is(self, run: ArchivedRun) -> bool:
        there = run.actions.get(self.first.id.action)
        created = self.first.metadata.creation_timestamp
        return there is None or there.metadata.creation_timestamp == created


def run_to_delete(client: Handles, run: RunId, incarnation: str, reason: str) -> DeleteRequest:
    """Say what would be deleted of all runs that ever had a name, or of one of them.

    Raises:
        ActionNotFound: neither the archive nor the store has it.
        InvalidSpec: it is alive.
        ArchiveTooNew: a newer release archived it.
        StoreUnavailable, BlobUnavailable: a server does not answer.
    """
    stored = _ended_in_store(client.store, run, incarnation)
    archived = _in_archive(Archive(client.blobs), run, incarnation)
    if not archived and stored is None:
        raise ActionNotFound(run, incarnation=incarnation)
    now, lives = client.store.now(), list(archived)
    days = [day for each in archived.values() for day in _days_of(each)]
    alone = 0
    if stored is not None:
        lives = list(dict.fromkeys([*lives, stored.life]))
        # the line of such a run, should it be written: its last action ended after its root, or just before
        days += [day_of(stored.ended_at - _DAY), day_of(now)]
        alone = 0 if stored.lies_in(archived) else stored.actions
    return DeleteRequest(
        project=run.project,
        domain=run.domain,
        runs=tuple(map(str, lives)),
        since=min(days),
        until=max(days),
        by=client.who(),
        at=now,
        reason=reason,
        archived=len(archived),
        stored=int(alone > 0),
        actions=alone + sum(len(each.actions) for each in archived.values() if each is not None),
        held=sum(bool(client.store.holders(life)) for life in lives),
    )


def project_to_delete(client: Handles, project: str, domain: str, reason: str) -> DeleteRequest:
    """Say what would be deleted of a project, or of one of its domains: all runs that have ended by now.

    Raises:
        StoreUnavailable, BlobUnavailable: a server does not answer.
    """
    store, archive = client.store, Archive(client.blobs)
    now = store.now()
    question = Question(project=project, domain=domain or None, since=FIRST, until=day_of(now))
    there = list(stored_runs(store, question))
    archived = {_life(row): (row.created_at, row.actions) for row in ask(client.blobs, question).rows}
    lost = set(archived_lives(client.blobs, project, domain)) - archived.keys()
    archived |= {life: _size(archive, life) for life in lost}
    known = {(_plain(life), created) for life, (created, _) in archived.items()}
    alone = {_life(row): row for row in there if row.ended_at and (_life(row), row.created_at) not in known}
    held = {hold.source for shard in range(store.shards) for hold in store.holds(shard)}
    return DeleteRequest(
        project=project,
        domain=domain,
        until=day_of(now + _DAY),
        by=client.who(),
        at=now,
        reason=reason,
        archived=len(archived),
        stored=len(alone),
        actions=sum(size for _, size in archived.values()) + sum(row.actions for row in alone.values()),
        alive=sum(not row.ended_at for row in there),
        held=len(held & {*archived, *alone}),
    )


def _ended_in_store(store: Store, run: RunId, incarnation: str) -> _Stored | None:
    """Find the stored run of a name; None: there is none, or it is another one than asked for.

    Raises:
        InvalidSpec: it is alive.
    """
    # whose submitter stopped half way may have no root
    first = list(records_of(store, run, "")) or list(store.list_actions(run, limit=1).actions)
    counts = store.counts(run)
    if not first or counts is None or incarnation not in {"", first[0].metadata.incarnation}:
        return None
    if counts.ended < counts.total:
        raise InvalidSpec(
            f"the run {run} is alive: {counts.total - counts.ended} of its {counts.total} actions have not ended. Wait "
            f"for its end, or abort it with `reconciler abort {run} --reason WHY`; to delete earlier ones of its "
            "name, name theirs with --incarnation"
        )
    life = RunLife(run, first[0].metadata.incarnation)
    return _Stored(life, first[0], counts.total, max(terminal_time(each.status) for each in first))


def _in_archive(archive: Archive, run: RunId, incarnation: str) -> _Archived:
    """Read what the archive has of a name; one that was told apart (`~`) belongs to the incarnation it had."""
    lives = [RunLife(run, each) for each in archive.incarnations(run)]
    wanted = [life for life in lives if incarnation in {"", life.incarnation, _plain(life).incarnation}]
    return {life: _readable(archive, life) for life in wanted}


def _readable(archive: Archive, life: RunLife) -> ArchivedRun | None:
    """Read a run; None: nothing of it can be read.

    Raises:
        ArchiveTooNew: only a newer release knows what is its.
    """
    try:
        return archive.read_run(life.run, life.incarnation)
    except ArchiveTooNew:
        raise
    except ArchiveUnreadable:
        return None


def _size(archive: Archive, life: RunLife) -> tuple[int, int]:
    """Tell when a run without a line in the index was created, and how many actions can be read of it."""
    try:
        run = archive.read_run(life.run, life.incarnation)
    except ArchiveUnreadable:
        return 0, 0
    return (run.created_at, len(run.actions)) if run is not None else (0, 0)


def _days_of(run: ArchivedRun | None) -> list[str]:
    """Name the days on which a run may have ended."""
    return [day_of(run.ended_at)] if run is not None and run.ended_at else [FIRST, LAST]


def _plain(life: RunLife) -> RunLife:
    return RunLife(life.run, life.incarnation.partition("~")[0])


def _life(row: Row) -> RunLife:
    return RunLife(row.id, row.incarnation)

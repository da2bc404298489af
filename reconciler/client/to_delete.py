"""Say what would be deleted of a run, or of a project: runs in the archive, and such as are stored alone (R91)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

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
LOOKED_INTO = 1000
"""Archived runs of a project that are read at most before they are deleted, to tell which are damaged."""
_AT_ONCE = 16
"""Requests to S3 at the same time."""
_Archived = Mapping[RunLife, ArchivedRun | None]
"""Runs in the archive, each as it can be read; None: it cannot."""


class _State(msgspec.Struct, frozen=True):
    """The state of an archived run, as its object tells it.

    Attributes:
        created_at: when it was created, ms since the epoch.
        actions: how many can be read.
        damaged: it cannot be read whole.
        too_new: a newer release archived it.
    """

    created_at: int = 0
    actions: int = 0
    damaged: bool = False
    too_new: bool = False


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
    listed = _in_index(client, run, incarnation)  # first: what is deleted meanwhile loses its line last
    archived = _in_archive(Archive(client.blobs), run, incarnation)
    lost = listed.keys() - archived.keys()
    if not archived and not lost and stored is None:
        raise ActionNotFound(run, incarnation=incarnation)
    now, lives = client.store.now(), [*archived, *sorted(lost)]
    days = [day for life, each in archived.items() for day in _days_of(each, listed.get(life))]
    days += [day_of(listed[life].ended_at) for life in lost]
    alone = 0
    if stored is not None:
        lives = list(dict.fromkeys([*lives, stored.life]))
        # the line of such a run, should it be written: its last action ended after its root, or just before
        days += [day_of(stored.ended_at - _DAY), day_of(now)]
        alone = 0 if stored.lies_in({**archived, **dict.fromkeys(lost)}) else stored.actions
    return DeleteRequest(
        project=run.project,
        domain=run.domain,
        runs=tuple(map(str, lives)),
        lost=tuple(map(str, sorted(lost))),
        since=min(days),
        until=max(days),
        by=client.who(),
        at=now,
        reason=reason,
        archived=len(archived) + len(lost),
        stored=int(alone > 0),
        actions=alone
        + sum(_actions_of(each, listed.get(life)) for life, each in archived.items())
        + sum(listed[life].actions for life in lost),
        held=sum(any(_is_made(client, holder) for holder in client.store.holders(life)) for life in lives),
        damaged=len(lost) + sum(each is None or bool(each.damage) for each in archived.values()),
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
    objects = set(archived_lives(client.blobs, project, domain))
    lost, there_alone = archived.keys() - objects, objects - archived.keys()
    states = _states(archive, objects if len(objects) <= LOOKED_INTO else there_alone)
    archived |= {life: (states[life].created_at, states[life].actions) for life in there_alone}
    known = {(_plain(life), created) for life, (created, _) in archived.items()}
    alone = {_life(row): row for row in there if row.ended_at and (_life(row), row.created_at) not in known}
    staying = {life for life, state in states.items() if state.too_new}
    return DeleteRequest(
        project=project,
        domain=domain,
        lost=tuple(map(str, sorted(lost))),
        until=day_of(now + _DAY),
        by=client.who(),
        at=now,
        reason=reason,
        archived=len(archived),
        stored=len(alone),
        actions=sum(size for life, (_, size) in archived.items() if life not in staying)
        + sum(row.actions for row in alone.values()),
        alive=sum(not row.ended_at for row in there),
        held=len(_held(client, {*archived, *alone})),
        damaged=len(lost) + sum(state.damaged for state in states.values()),
        too_new=len(staying),
    )


def _held(client: Handles, lives: Collection[RunLife]) -> set[RunLife]:
    """Find those of the runs that others were made of."""
    holds = [hold for shard in range(client.store.shards) for hold in client.store.holds(shard)]
    holders: dict[RunId, set[RunLife]] = {}
    for hold in holds:
        if hold.source in lives:
            holders.setdefault(hold.holder, set()).add(hold.source)
    return {life for holder, sources in holders.items() if _is_made(client, holder) for life in sources}


def _is_made(client: Handles, holder: RunId) -> bool:
    """Tell whether a run that holds another one is there: a refused call leaves a hold for two minutes."""
    return client.store.counts(holder) is not None or bool(Archive(client.blobs).incarnations(holder))


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


def _in_index(client: Handles, run: RunId, incarnation: str) -> Mapping[RunLife, Row]:
    """Read the lines that the index has of a name, as of runs whose object is gone."""
    question = Question(project=run.project, domain=run.domain, name=run.run, since=FIRST, until=LAST)
    rows = {_life(row): row for row in ask(client.blobs, question).rows if row.run == run.run}
    return {
        life: row
        for life, row in rows.items()
        if incarnation in {"", life.incarnation, _plain(life).incarnation}
    }


def _actions_of(run: ArchivedRun | None, row: Row | None) -> int:
    """Tell how many actions a run has: of a damaged one what its line says, or else what can be read."""
    there = len(run.actions) if run is not None else 0
    return max(there, row.actions) if row is not None else there


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


def _states(archive: Archive, lives: Collection[RunLife]) -> dict[RunLife, _State]:
    """Look into the objects of runs, side by side."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="deleting") as pool:
        return dict(zip(lives, pool.map(lambda life: _state(archive, life), lives), strict=True))


def _state(archive: Archive, life: RunLife) -> _State:
    try:
        run = archive.read_run(life.run, life.incarnation)
    except ArchiveTooNew:
        return _State(too_new=True)
    except ArchiveUnreadable:
        return _State(damaged=True)
    if run is None:
        return _State()
    return _State(run.created_at, len(run.actions), damaged=bool(run.damage))


def _days_of(run: ArchivedRun | None, row: Row | None) -> list[str]:
    """Name the days on which a run may have ended."""
    ended = row.ended_at if row is not None else run.ended_at if run is not None else 0
    return [day_of(ended)] if ended else [FIRST, LAST]


def _plain(life: RunLife) -> RunLife:
    return RunLife(life.run, life.incarnation.partition("~")[0])


def _life(row: Row) -> RunLife:
    return RunLife(row.id, row.incarnation)

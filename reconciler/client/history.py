"""Ask the archive what it remembers, and have runs deleted from it."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.api.action import RunId
from reconciler.api.errors import ActionNotFound, ArchiveTooNew, ArchiveUnreadable, InvalidSpec
from reconciler.api.names import check_incarnation, check_name
from reconciler.archive.archive import Archive
from reconciler.archive.deleting import Deleter
from reconciler.archive.layout import DELETED, day_of
from reconciler.archive.query import Found, Question, ask
from reconciler.archive.requests import (
    FIRST,
    LAST,
    DeleteRequest,
    finish_request,
    note_unreadable,
    requests_in,
    store_request,
)
from reconciler.client.choosing import records_of, stored_runs
from reconciler.client.handles import Handles
from reconciler.core.status_conditions import terminal_time
from reconciler.stores.holds import RunLife

_DAY = 86_400_000


class History:
    """The archive of an installation: `Client.history`. May be shared between threads.

    Args:
        client: reads runs.
    """

    def __init__(self, client: Handles) -> None:
        self._client = client

    def find(self, question: Question) -> Found:
        """Find the archived runs of a question, newest end first.

        Raises:
            BlobUnavailable: the server does not answer.
        """
        return ask(self._client.blobs, question)

    # -- deleting --------------------------------------------------------------------------------------------------
    def plan_delete(self, run: RunId, *, incarnation: str = "", reason: str = "") -> DeleteRequest:
        """Say what `delete` would delete for a run: all that ever had its name, or one. Nothing is stored.

        Args:
            run: which one.
            incarnation: only this one of its name.
            reason: why, for the trace.

        Raises:
            ActionNotFound: neither the archive nor the store has it.
            InvalidSpec: it is alive.
            ArchiveTooNew: a newer release archived it: use that one.
            InvalidName: a name, or the incarnation, breaks the rule of names.
            StoreUnavailable, BlobUnavailable: a server does not answer.
        """
        run.checked()
        if incarnation:
            check_incarnation(incarnation)
        ends = self._ended_in_store(run, incarnation)
        stored = list(ends)
        archive = Archive(self._client.blobs)
        lives = [RunLife(run, each) for each in archive.incarnations(run) if each == (incarnation or each)]
        if not lives and not stored:
            raise ActionNotFound(run, incarnation=incarnation)
        days: list[str] = []
        actions = 0
        for life in lives:
            count, day = _read(archive, life)
            actions, days = actions + count, [*days, *day]
        now = self._client.store.now()
        if stored:  # the line of such a run, should it be written: its last action ended after its root, or just before
            days += [day_of(min(ends.values()) - _DAY), day_of(now)]
        return DeleteRequest(
            project=run.project,
            domain=run.domain,
            runs=tuple(dict.fromkeys(map(str, [*lives, *stored]))),
            since=min(days),
            until=max(days),
            by=self._client.who(),
            at=now,
            reason=reason,
            archived=len(lives),
            actions=actions,
            stored=len(set(stored) - set(lives)),
            stored_until=self._kept_until(ends[life] for life in stored if life not in lives),
            held=sum(bool(self._client.store.holders(life)) for life in {*lives, *stored}),
        )

    def plan_delete_project(self, project: str, *, domain: str = "", reason: str = "") -> DeleteRequest:
        """Say what `delete` would delete of a project: all runs that have ended by now. Nothing is stored.

        Args:
            project: which one.
            domain: only of this one.
            reason: why, for the trace.

        Raises:
            InvalidName: a name breaks the rule of names.
            StoreUnavailable, BlobUnavailable: a server does not answer.
        """
        check_name("project", project)
        if domain:
            check_name("domain", domain)
        store = self._client.store
        now = store.now()
        question = Question(project=project, domain=domain, since=FIRST, until=day_of(now))
        rows = self.find(question).rows
        archived = {row.key for row in rows}
        there = [row for row in stored_runs(store, question) if row.key not in archived]
        ended = [row for row in there if row.ended_at] if self._client.settings.archive else []
        held = {hold.source for shard in range(store.shards) for hold in store.holds(shard)} & {
            RunLife(row.id, row.incarnation) for row in (*rows, *ended)
        }
        return DeleteRequest(
            project=project,
            domain=domain,
            until=day_of(now + _DAY),
            by=self._client.who(),
            at=now,
            reason=reason,
            archived=len(rows),
            actions=sum(row.actions for row in rows),
            stored=len(ended),
            stored_until=self._kept_until(row.ended_at for row in ended),
            alive=sum(not row.ended_at for row in there),
            held=len(held),
        )

    def delete(self, request: DeleteRequest) -> DeleteRequest:
        """Delete what was planned from the archive: runs, their lines in the index, and objects that no other record names.

        The request is stored first: a collector finishes it if this process dies, and removes the objects. A trace stays.

        Returns:
            The trace; `finished_at` is 0 when the collector has to do the rest, because it is much, or some is still stored.

        Raises:
            StoreUnavailable, BlobUnavailable: a server does not answer; when the request was stored, a collector goes on.
        """
        client = self._client
        store_request(client.blobs, request)
        deleter = Deleter(client.store, client.blobs)
        done = deleter.carry_out(request)
        request = note_unreadable(client.blobs, request, len(deleter.damaged), len(deleter.too_new))
        client.archived.forget()
        return finish_request(client.blobs, request, client.store.now()) if done else request

    def deleted(self, project: str = "") -> list[DeleteRequest]:
        """Read the traces of deletions, of one project or of all, oldest first; costs a request for each.

        Raises:
            BlobUnavailable: the server does not answer.
        """
        return [
            each
            for each in requests_in(self._client.blobs, DELETED)
            if each.project == (project or each.project)
        ]

    def _kept_until(self, ends: Iterable[int]) -> int:
        """Return until when the store may keep one of these runs, ms; 0 when it has none."""
        last = max(ends, default=0)
        return last + int(self._client.settings.retention.total_seconds() * 1000) if last else 0

    def _ended_in_store(self, run: RunId, incarnation: str) -> dict[RunLife, int]:
        """Find the stored run and when it ended, since it stays there for its retention; none if it is another incarnation.

        Raises:
            InvalidSpec: it is alive.
        """
        store = self._client.store
        # whose submitter stopped half way may have no root
        roots = list(records_of(store, run, "")) or list(store.list_actions(run, limit=1).actions)
        counts = store.counts(run)
        if not roots or counts is None or not self._client.settings.archive:
            return {}
        life = RunLife(run, roots[0].metadata.incarnation)
        if life.incarnation != (incarnation or life.incarnation):
            return {}
        if counts.ended < counts.total:
            raise InvalidSpec(
                f"the run {run} is alive: {counts.total - counts.ended} of its {counts.total} actions have not ended. Wait "
                f"for its end, or abort it with `reconciler abort {run} --reason WHY`; to delete earlier ones of its "
                "name, name theirs with --incarnation"
            )
        return {life: max(terminal_time(root.status) for root in roots)}


def _read(archive: Archive, life: RunLife) -> tuple[int, list[str]]:
    """Count the readable actions of a run, and name the days on which it may have ended."""
    try:
        found = archive.read_run(life.run, life.incarnation)
    except ArchiveTooNew:
        raise  # only that release knows what is its
    except ArchiveUnreadable:
        return 0, [FIRST, LAST]
    if found is None or not found.ended_at:
        return 0, [FIRST, LAST]
    return len(found.actions), [day_of(found.ended_at)]

"""Ask the archive what it remembers, and have runs deleted from it."""

from __future__ import annotations

from typing import Any

from reconciler.api.names import check_incarnation, check_name
from reconciler.archive.deleting import Deleter
from reconciler.archive.layout import DELETED
from reconciler.archive.query import Found, Question, ask
from reconciler.archive.requests import (
    DeleteRequest,
    finish_request,
    note_unreadable,
    requests_in,
    store_request,
)
from reconciler.client.handles import Handles
from reconciler.client.identities import NamedRun, run_of
from reconciler.client.run import Run, whole_run
from reconciler.client.to_delete import project_to_delete, run_to_delete


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
            InvalidSpec: no run can fit the question.
            BlobUnavailable: the server does not answer.
        """
        return ask(self._client.blobs, question)

    # -- deleting --------------------------------------------------------------------------------------------------
    def plan_delete(
        self, run: NamedRun | Run[Any], *, incarnation: str = "", reason: str = ""
    ) -> DeleteRequest:
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
        if isinstance(run, Run):
            incarnation, run = incarnation or run.incarnation, whole_run(run)
        run = run_of(run, *self._client.place)
        if incarnation:
            check_incarnation(incarnation)
        return run_to_delete(self._client, run, incarnation, reason)

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
        return project_to_delete(self._client, project, domain, reason)

    def delete(self, request: DeleteRequest) -> DeleteRequest:
        """Delete what was planned: records, runs in the archive, their lines in the index, and objects they alone name.

        The request is stored first: a collector finishes it if this process dies, and removes the objects. A trace stays.

        Returns:
            The trace; `finished_at` is 0 when the collector has to do the rest: it is much, owes clean-up or is being read.

        Raises:
            StoreUnavailable, BlobUnavailable: a server does not answer; when the request was stored, a collector goes on.
        """
        client = self._client
        store_request(client.blobs, request)
        deleter = Deleter(client.store, client.blobs)
        try:
            done = deleter.carry_out(request)
        finally:  # also what went before a server was away
            client.archived.forget()
        request = note_unreadable(client.blobs, request, len(deleter.damaged), len(deleter.too_new))
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

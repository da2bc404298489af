"""Find runs by a query, among stored and archived ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from reconciler.api.action import RunId, TaskAction
from reconciler.archive.index import Group, Row
from reconciler.archive.layout import day_of
from reconciler.archive.query import Found, Question, ask
from reconciler.core.children import ROOT
from reconciler.core.naming import task_name
from reconciler.core.status_conditions import terminal_time
from reconciler.stores.base import Store
from reconciler.stores.counts import RunSummary
from reconciler.stores.objects import BlobStore

_PAGE = 500


def stored_runs(store: Store, question: Question) -> Iterator[Row]:
    """Find the stored runs of a query, newest first, each as a line of the index. A live run counts as ending today.

    Records are read only of runs that the counts of their phases do not rule out; of those all, where a task or an error
    code is asked for, else the roots.

    Raises:
        InvalidSpec: no run can fit the question.
        StoreUnavailable: the store does not answer.
    """
    question.checked()
    today = day_of(store.now())
    whole = bool(question.task or question.code)
    page = store.list_runs(_PAGE)
    while page:
        fitting = [summary for summary in page if _may_fit(summary, question)]
        roots = [None] * len(fitting) if whole else store.get_many([each.id.action(ROOT) for each in fitting])
        for summary, root in zip(fitting, roots, strict=True):
            row = row_of(store, summary, whole=whole, known=root)
            ended = day_of(row.ended_at) if row.ended_at else today
            if question.since <= ended <= question.until and question.fits(row):
                yield row
        page = store.list_runs(_PAGE, page[-1])


def all_runs(store: Store, blobs: BlobStore, question: Question) -> Found:
    """Find all runs of a query: first stored ones, then those that only the archive has."""
    archived = ask(blobs, question)  # first: what is archived meanwhile is stored until then
    stored = list(stored_runs(store, question))
    seen = {row.key for row in stored}
    rows = [*stored, *(row for row in archived.rows if row.key not in seen)]
    return Found(rows, archived.requests, archived.damaged, seen)


def _may_fit(summary: RunSummary, question: Question) -> bool:
    phases = {str(phase) for phase, count in summary.counts.phases.items() if count > 0}
    return (
        summary.id.project == question.project
        and summary.id.domain == (question.domain or summary.id.domain)
        and summary.id.run.startswith(question.name or "")
        and (not question.phase or question.phase in phases)
    )


def row_of(store: Store, summary: RunSummary, *, whole: bool, known: TaskAction | None = None) -> Row:
    """Write a stored run as a line of the index.

    Args:
        store: that has it.
        summary: of the run.
        whole: whether all its records are read, for their tasks and codes; else its roots and the counts of phases.
        known: its root, when somebody has read it already.
    """
    only = [known] if known is not None and known.children.total + 1 == summary.counts.total else None
    records = only or list(records_of(store, summary.id, None if whole else ""))
    root = next((each for each in records if each.id.action == ROOT), records[0] if records else None)
    # whose submitter died half way may have no root: it has no phase, as in the archive
    records = records or list(store.list_actions(summary.id, limit=1).actions)
    alive = summary.counts.ended < summary.counts.total
    groups = Counter(map(_alike, records)) if whole else _counted(summary)
    return Row(
        project=summary.id.project,
        domain=summary.id.domain,
        run=summary.id.run,
        incarnation=records[0].metadata.incarnation if records else "",
        created_at=summary.created_at,
        ended_at=0 if alive else max((terminal_time(each.status) for each in records), default=0),
        phase=str(root.phase) if root else "",
        task=task_name(root) if root else "",
        actions=summary.counts.total,
        groups=tuple(Group(*alike, count) for alike, count in sorted(groups.items())),
        labels=root.metadata.extra_labels if root else {},
    )


def records_of(store: Store, run: RunId, parent: str | None) -> Iterable[TaskAction]:
    """Read all records of a run, or the direct children of one of its actions; "" gives the roots."""
    page = store.list_actions(run, parent=parent, limit=_PAGE)
    while page.actions:
        yield from page.actions
        if not page.next:
            return
        page = store.list_actions(run, parent=parent, after=page.next, limit=_PAGE)


def _counted(summary: RunSummary) -> Counter[tuple[str, str, str]]:
    return Counter(
        {("", str(phase), ""): count for phase, count in summary.counts.phases.items() if count > 0}
    )


def _alike(record: TaskAction) -> tuple[str, str, str]:
    error = record.status.error_state
    return task_name(record), str(record.phase), error.code if error else ""

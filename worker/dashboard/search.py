"""Find runs: read in pages, newest first, and matched one by one, within a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from reconciler.api.action import RunId, TaskAction
from reconciler.api.errors import BlobUnavailable, InvalidInput
from reconciler.api.logins import WHOLE, View
from reconciler.api.phase import ActionPhase
from reconciler.archive.recent import Place
from reconciler.cli.documents import counts_document
from reconciler.client import Client
from reconciler.core.children import ROOT
from reconciler.core.documents import Document
from reconciler.core.visible import visible
from reconciler.stores.counts import RunCounts, RunSummary
from worker.dashboard.remembered import add_archived, all_archived
from worker.dashboard.rows import row, task_of
from worker.dashboard.wanted import Wanted, code_fits, label_fits

_READ = 500
"""Runs read in one round trip of a search."""
_BUDGET = 5_000
"""Runs one search reads at most: then it answers what it found, and where to go on."""


def search_runs(client: Client, wanted: Wanted, view: View = WHOLE) -> Document:
    """Write a page of the wanted runs, newest first, then archived ones; `next` continues, empty = the end.

    Raises:
        InvalidInput: `after` is no place.
    """
    place = Place.parse(wanted.after)
    answer = _stored(client, wanted, view) if place is None else _answer([], "", 0)
    if not answer["next"] and len(answer["runs"]) < wanted.limit:
        add_archived(client, wanted, place, answer, view)
    elif not answer["next"] and client.settings.archive:
        answer["next"] = str(Place.first(client.store.now()))
    return {**answer, "now": client.store.now()}


def _answer(runs: list[Document], go_on: str, searched: int) -> Document:
    return {"runs": runs, "next": go_on, "searched": searched}


def _stored(client: Client, wanted: Wanted, view: View) -> Document:
    found: list[Document] = []
    read, seen, last = 0, 0, None
    for summary, root in _candidates(client, wanted, view):
        if _fits(wanted, view, summary, root):
            found.append(_document(summary, root))
        read, seen, last = read + 1, seen + view.sees(summary.id.project), summary
        if len(found) == wanted.limit or read == _BUDGET:
            break
    else:
        last = None
    return _answer(found, _place_of(last, view) if last else "", seen)


def _place_of(last: RunSummary, view: View) -> str:
    """Return where to continue: after a run, or at its time without its name if it is of another project."""
    if view.sees(last.id.project):
        return f"{last.created_at}/{last.id}"
    return f"{last.created_at + 1}/"


def found_runs(
    client: Client, wanted: Wanted, view: View = WHOLE
) -> Iterator[tuple[RunSummary, TaskAction | None]]:
    """Find all wanted runs, each with its root, without a limit; reads as many as there are."""
    for summary, root in _candidates(client, wanted, view, _READ):
        if _fits(wanted, view, summary, root):
            yield summary, root


def phases_document(client: Client, wanted: Wanted, view: View = WHOLE) -> Document:
    """Count the runs of a search by the phase of their roots, archived ones too; `complete`: none was left out."""
    phases: Counter[str] = Counter()
    stored = _candidates(client, wanted, view, _READ)
    for summary, root in islice(stored, _BUDGET):
        if _fits(wanted, view, summary, root):
            phases[str(root.phase if root else ActionPhase.QUEUED)] += 1
    complete = next(stored, None) is None
    try:
        phases.update(row.phase for row in all_archived(client, wanted, view))
    except (BlobUnavailable, InvalidInput):  # away, or too large to be looked through
        complete = False
    return {"phases": phases, "runs": phases.total(), "complete": complete}


def _candidates(
    client: Client, wanted: Wanted, view: View, size: int = 0
) -> Iterator[tuple[RunSummary, TaskAction | None]]:
    """Yield runs with their roots, newest first, down to the earliest that may be wanted."""
    before: RunSummary | int = _position(wanted.after) if wanted.after else wanted.until and wanted.until + 1
    filtered = wanted.of_root or wanted.name or wanted.project or wanted.domain or view != WHOLE
    size = size or (_READ if filtered else wanted.limit)
    while page := client.runs(size, before):
        likely = [summary for summary in page if _named(wanted, view, summary)]
        roots = client.store.get_many([summary.id.action(ROOT) for summary in likely])
        known = {summary.id: root for summary, root in zip(likely, roots, strict=True)}
        for summary in page:
            if summary.created_at < wanted.since:
                return
            yield summary, known.get(summary.id)
        before = page[-1]


def _position(text: str) -> RunSummary | int:
    at, _, run = text.partition("/")
    if not at.isdigit():
        raise InvalidInput(
            f"{visible(text[:80])!r} is no place in the list of runs; use `next` of the answer before"
        )
    return RunSummary(RunId.parse(run), int(at), RunCounts({})) if run else int(at)


def _named(wanted: Wanted, view: View, summary: RunSummary) -> bool:
    run = summary.id
    return (
        view.sees(run.project)
        and wanted.project in {"", run.project}
        and wanted.domain in {"", run.domain}
        and wanted.name.lower() in run.run.lower()
        and summary.created_at >= wanted.since
    )


def _fits(wanted: Wanted, view: View, summary: RunSummary, root: TaskAction | None) -> bool:
    if not _named(wanted, view, summary):
        return False
    return not wanted.of_root or (
        root is not None
        and _root_fits(wanted, root)
        and (
            not wanted.code or any(code_fits(wanted.code, code) for code in {*summary.codes, _code_of(root)})
        )
    )


def _code_of(root: TaskAction) -> str:
    """Return the code of the root's last error: a run counts it only when the root ends."""
    error = root.status.error_state
    return error.code if error else ""


def _root_fits(wanted: Wanted, root: TaskAction) -> bool:
    return (
        wanted.phase in {"", str(root.phase)}
        and wanted.task.lower() in task_of(root).lower()
        and label_fits(wanted.label, root.labels)
    )


def _document(summary: RunSummary, root: TaskAction | None) -> Document:
    return {
        "run": str(summary.id),
        "created": summary.created_at,
        "actions": summary.counts.total,
        "ended": summary.counts.ended,
        "phases": counts_document(summary.counts),
        "root": None if root is None else {key: value for key, value in row(root).items() if key != "bars"},
    }

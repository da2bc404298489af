"""Continue a search in the archive where the stored records end, and read runs whose name was used again."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from reconciler.api.action import RunId
from reconciler.api.errors import BlobUnavailable, InvalidInput
from reconciler.api.logins import WHOLE, View
from reconciler.api.phase import ActionPhase
from reconciler.archive.index import Row
from reconciler.archive.recent import Asked, Page, Place, RecentRuns
from reconciler.client import Client
from reconciler.client.actions import Actions
from reconciler.client.incarnation import OneIncarnation
from reconciler.core.children import ROOT
from reconciler.core.counted import counted
from reconciler.core.documents import Document
from worker.dashboard.wanted import MOST, Wanted, code_fits, label_fits

_PAGES = 10
"""Parts of the archive one search for all that match reads at most."""
GOOD = {str(phase) for phase in ActionPhase if phase.is_terminal() and phase.has_outputs()}
"""Phases of a root there is nothing to recover of."""
_ENDED = {str(phase) for phase in ActionPhase if phase.is_terminal()}


_recent = lru_cache(maxsize=2)(RecentRuns)
"""One for each store of objects: it keeps what it has read."""


def reader(client: Client, run: RunId, incarnation: str) -> Actions:
    """Return the reader of a run: of several with one name the one that is meant, or else the last."""
    return OneIncarnation(client, run.action(ROOT), incarnation) if incarnation else client


def archived_runs(client: Client, wanted: Wanted, place: Place | None, limit: int, view: View) -> Page:
    """Find archived runs of a search, last ends first, without those that Redis still has.

    Raises:
        BlobUnavailable: S3 does not answer.
    """
    projects = view.among(wanted.project)
    if projects == () or not client.settings.archive or wanted.phase not in {"", *_ENDED} or limit < 1:
        return Page()
    page = _recent(client.blobs).page(  # type: ignore[arg-type]  # mypy asks whether a protocol can be hashed
        Asked(
            wanted=lambda row: _fits(wanted, row),
            words=_words(wanted),
            limit=limit,
            now=client.store.now(),
            projects=projects or (),
            since=wanted.since,
            after=place,
        )
    )
    records = client.store.get_many([row.id.action(ROOT) for row in page.rows])
    page.rows = [
        row
        for row, record in zip(page.rows, records, strict=True)
        if record is None or record.metadata.incarnation != row.incarnation
    ]
    return page


def all_archived(client: Client, wanted: Wanted, view: View = WHOLE) -> Iterator[Row]:
    """Find all archived runs of a search, last ends first.

    Raises:
        BlobUnavailable: S3 does not answer.
        InvalidInput: too much of the archive would have to be read, or too many projects.
    """
    place: Place | None = None
    for _ in range(_PAGES):
        page = archived_runs(client, wanted, place, MOST, view)
        if page.left_out:
            raise InvalidInput(
                f"the archive has runs of {len(page.left_out)} projects more than one search looks at: name the project, as "
                "with project:NAME"
            )
        yield from page.rows
        place = page.next
        if place is None:
            return
    raise InvalidInput(
        "the archive is too large to look all of it through: use a narrower search, as with since:7d"
    )


def add_archived(client: Client, wanted: Wanted, place: Place | None, answer: Document, view: View) -> None:
    """Complete an answer of `search_runs` with archived runs; if the archive does not answer, say so."""
    try:
        page = archived_runs(client, wanted, place, wanted.limit - len(answer["runs"]), view)
    except BlobUnavailable as error:
        answer["problem"] = f"Only what Redis holds is shown, as the archive cannot be read: {error}"
        return
    answer["runs"] += [run_of(row) for row in page.rows]
    answer["searched"] += page.searched
    answer["next"] = str(page.next) if page.next else ""
    if page.left_out:
        answer["problem"] = (
            f"Of {counted(len(page.left_out), 'project')} nothing is shown: search with project:NAME."
        )
    elif page.damaged:
        answer["problem"] = f"{page.damaged[0]} is damaged, so runs may be missing: restore it from a copy."


def run_of(row: Row) -> Document:
    """Write an archived run as a search shows it; its root as far as the index knows it."""
    phases: dict[str, int] = {}
    for group in row.groups:
        phases[group.phase] = phases.get(group.phase, 0) + group.count
    codes = sorted({group.code for group in row.groups if group.code and group.phase == row.phase})
    return {
        "run": str(row.id),
        "created": row.created_at,
        "actions": row.actions,
        "ended": row.actions,
        "phases": phases,
        "archived": True,
        "incarnation": row.incarnation,
        "root": {
            "name": ROOT,
            "parent": "",
            "task": row.task,
            "phase": row.phase,
            "created": row.created_at,
            "ended": row.ended_at,
            "error": " ".join(f"[{code}]" for code in codes) if row.phase not in GOOD else "",
        },
    }


def _fits(wanted: Wanted, row: Row) -> bool:
    return (
        wanted.domain in {"", row.domain}
        and wanted.name.lower() in row.run.lower()
        and wanted.phase in {"", row.phase}
        and wanted.task.lower() in row.task.lower()
        and wanted.since <= row.created_at <= (wanted.until or row.created_at)
        and (not wanted.code or any(code_fits(wanted.code, group.code) for group in row.groups))
        and label_fits(wanted.label, row.labels)
    )


def _words(wanted: Wanted) -> list[bytes]:
    """List the words in the line of each wanted run, in lower case."""
    label = wanted.label.partition("=")
    asked = (wanted.domain, wanted.name, wanted.phase, wanted.task, wanted.code, label[0], label[2])
    return [msgspec.json.encode(text.lower())[1:-1] for text in asked if text and text.isascii()]

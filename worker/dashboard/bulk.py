"""Does one thing to every run a search finds. Whoever asks says how many there are, so that nothing else is met."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.api.errors import InvalidInput, ReconcilerError
from reconciler.api.logins import WHOLE, View
from reconciler.client import Client
from reconciler.client.choosing import records_of
from reconciler.core.children import ROOT
from reconciler.core.documents import Document
from worker.dashboard.buttons import BUTTONS, Asked, press
from worker.dashboard.remembered import GOOD, all_archived
from worker.dashboard.search import found_runs
from worker.dashboard.wanted import Wanted, read_wanted

MOST: Final = 1_000
"""Runs one press may meet."""
VERBS: Final = ("abort", "rerun", "recover")


class AskedOfAll(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asks for one thing to be done to all runs of a search.

    Attributes:
        query: the search, as in `GET /runs`.
        count: how many runs the person was told it meets.
        values: of the form behind the button.
    """

    query: dict[str, str] = {}
    count: int = 0
    values: dict[str, Any] = {}


def read_asked(body: bytes) -> AskedOfAll:
    """Read the body of a request.

    Raises:
        InvalidInput: it is of another form.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=AskedOfAll)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the body cannot be read: {error}; it holds query, count and values") from error


def count_document(client: Client, verb: str, wanted: Wanted, view: View = WHOLE) -> Document:
    """Count the runs of a search the verb fits.

    Raises:
        InvalidInput: it is no verb for many runs.
    """
    runs = list(_matching(client, verb, wanted, view))
    return {"verb": verb, "count": len(runs), "most": MOST}


def press_all(client: Client, verb: str, asked: AskedOfAll, by: str, view: View = WHOLE) -> Document:
    """Do it to each, and tell of those that refused.

    Raises:
        InvalidInput: it is no verb for many runs, there are too many, or not as many as the person was told.
    """
    runs = list(_matching(client, verb, read_wanted(asked.query), view))
    if len(runs) > MOST:
        raise InvalidInput(f"more than {MOST} runs fit this search; use a narrower one, as with since:1h")
    if len(runs) != asked.count:
        raise InvalidInput(f"{asked.count} runs were to be met, and {len(runs)} fit now: look again")
    refused: list[Document] = []
    for run, incarnation in runs:
        try:
            for action in _targets(client, verb, run):
                press(verb, Asked(client, action, asked.values, by, incarnation))
        except ReconcilerError as error:
            refused.append({"run": str(run), "message": str(error)})
    return {"verb": verb, "done": len(runs) - len(refused), "refused": refused}


def _matching(client: Client, verb: str, wanted: Wanted, view: View) -> Iterator[tuple[RunId, str]]:
    """Find the runs and their incarnations, and one more when there are too many."""
    if verb not in VERBS:
        raise InvalidInput(
            f"{verb[:40]!r} is done to one action at a time; use one of {', '.join(VERBS)} for many"
        )
    yield from islice(_all_matching(client, verb, wanted, view), MOST + 1)


def _all_matching(client: Client, verb: str, wanted: Wanted, view: View) -> Iterator[tuple[RunId, str]]:
    for summary, root in found_runs(client, wanted, view):
        if root is not None and BUTTONS[verb].fits(root):
            yield summary.id, root.metadata.incarnation
        elif verb == "abort" and summary.counts.ended < summary.counts.total:
            live = next(_live_roots(client, summary.id), None)
            if live is not None:
                yield summary.id, live.metadata.incarnation
    if verb == "abort":
        return
    for row in all_archived(client, wanted, view):
        if verb == "rerun" or row.phase not in GOOD:
            yield row.id, row.incarnation


def _targets(client: Client, verb: str, run: RunId) -> list[ActionId]:
    """Tell what of a run the verb is done to: an abort to all its roots, whatever their names."""
    return [root.id for root in _live_roots(client, run)] if verb == "abort" else [run.action(ROOT)]


def _live_roots(client: Client, run: RunId) -> Iterator[TaskAction]:
    return filter(BUTTONS["abort"].fits, records_of(client.store, run, ""))

"""Do one thing to every run that a search finds, if the caller names the right number of runs.

The runs are stored as a plan before anything is done, as `reconciler bulk` does, under the name the page was told with their
number: sent again, the same request goes on with it, and does nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from reconciler.api.errors import BlobNotFound, InvalidInput
from reconciler.api.logins import WHOLE, View
from reconciler.archive.bulk import BulkVerb
from reconciler.client import Client
from reconciler.client.bulk import Bulk, is_for
from reconciler.client.choosing import row_of
from reconciler.client.submission import new_run_name
from reconciler.core.counted import counted
from reconciler.core.documents import Document
from reconciler.stores.counts import RunSummary
from reconciler.stores.holds import RunLife
from worker.dashboard.buttons import ANYBODY, check_values, reason_of, speaking
from worker.dashboard.remembered import GOOD, all_archived
from worker.dashboard.search import found_runs
from worker.dashboard.wanted import SEARCHED, Wanted, read_wanted

MOST: Final = 1_000
"""Runs one press may meet."""
VERBS: Final = tuple(str(verb) for verb in (BulkVerb.ABORT, BulkVerb.RERUN, BulkVerb.RECOVER))


class AskedOfAll(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The request to do one thing to all runs of a search.

    Attributes:
        query: the search, as in `GET /runs`.
        count: how many runs the person was told it meets.
        bulk: the name the person was told with it; empty = a new one, and the request must not be sent again.
        values: of the form behind the button.
    """

    query: dict[str, str] = {}
    count: int = 0
    bulk: str = ""
    values: dict[str, Any] = {}


def read_asked(body: bytes) -> AskedOfAll:
    """Read the body of a request.

    Raises:
        InvalidInput: it is of another form.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=AskedOfAll)
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"the body cannot be read: {error}; it holds query, count, bulk and values"
        ) from error


def count_document(client: Client, verb: str, wanted: Wanted, view: View = WHOLE) -> Document:
    """Count the runs of a search that a verb fits, and name the bulk that may be made of them.

    Raises:
        InvalidInput: it is no verb for many runs.
    """
    runs = _matching(client, _verb(verb), wanted, view)
    return {"verb": verb, "count": len(runs), "most": MOST, "bulk": new_run_name(verb)}


def press_all(client: Client, verb: str, asked: AskedOfAll, by: str, view: View = WHOLE) -> Document:
    """Apply the verb to each run, and list those that refused. The same bulk again goes on where it stopped.

    Raises:
        InvalidInput: it is no verb for many runs, there are too many, or not as many as the person was told; or the bulk is
            another one.
        InvalidName: the name of the bulk breaks the rule of names.
        QueueFull: what waits in a queue reached its limit; press again later.
        StoreUnavailable, BlobUnavailable: a server does not answer; press again later.
    """
    doing, person, wanted = _verb(verb), speaking(client, by or ANYBODY), read_wanted(asked.query)
    check_values("query", asked.query, SEARCHED)
    check_values(verb, asked.values, ("reason",) if doing is BulkVerb.ABORT else ())
    bulk = _planned(person, doing, asked, wanted, view) or _plan(person, doing, asked, wanted, view)
    done = bulk.carry_out()
    refused = [
        {"run": str(RunLife.parse(one.run).run), "message": one.refused} for one in done if one.refused
    ]
    return {"verb": verb, "done": len(done) - len(refused), "refused": refused, "bulk": bulk.plan.name}


def _verb(verb: str) -> BulkVerb:
    if verb not in VERBS:
        raise InvalidInput(
            f"{verb[:40]!r} is done to one action at a time; use one of {', '.join(VERBS)} for many"
        )
    return BulkVerb(verb)


def _planned(client: Client, verb: BulkVerb, asked: AskedOfAll, wanted: Wanted, view: View) -> Bulk | None:
    """Find the bulk of an earlier request; None when this one is new."""
    if not asked.bulk:
        return None
    try:
        bulk = client.bulk.open(asked.bulk, wanted.project)
    except BlobNotFound:
        return None
    projects = {RunLife.parse(run).run.project for run in bulk.plan.runs}
    if bulk.plan.verb != verb or bulk.plan.by != client.who() or not all(map(view.sees, projects)):
        raise InvalidInput("there is another bulk of this name: count the runs again, which names a new one")
    return bulk


def _plan(client: Client, verb: BulkVerb, asked: AskedOfAll, wanted: Wanted, view: View) -> Bulk:
    reason = reason_of(asked.values) if verb is BulkVerb.ABORT else ""
    runs = _matching(client, verb, wanted, view)
    if len(runs) > MOST:
        raise InvalidInput(f"more than {MOST} runs fit this search; use a narrower one, as with since:1h")
    if len(runs) != asked.count:
        raise InvalidInput(
            f"{counted(asked.count, 'run')} fitted the search when it was confirmed, and now {len(runs)}: look again"
        )
    if not runs:
        raise InvalidInput(f"no run of this search fits {verb}: look again")
    return client.bulk.plan(verb, runs, name=asked.bulk, reason=reason, limit=MOST, project=wanted.project)


def _matching(client: Client, verb: BulkVerb, wanted: Wanted, view: View) -> list[RunLife]:
    """Find the runs, and one more when there are too many."""
    return list(islice(_all_matching(client, verb, wanted, view), MOST + 1))


def _all_matching(client: Client, verb: BulkVerb, wanted: Wanted, view: View) -> Iterator[RunLife]:
    """Find the runs that `reconciler bulk` would: its rule decides, over stored and archived runs."""
    for summary, _ in found_runs(client, wanted, view):
        if _may_fit(verb, summary):
            row = row_of(client.store, summary, whole=False)
            if is_for(verb, row):
                yield RunLife(row.id, row.incarnation)
    if verb is BulkVerb.ABORT:
        return
    for row in all_archived(client, wanted, view):
        if is_for(verb, row):
            yield RunLife(row.id, row.incarnation)


def _may_fit(verb: BulkVerb, summary: RunSummary) -> bool:
    """Tell by its counts alone whether a stored run is worth reading."""
    counts = summary.counts
    alive = counts.ended < counts.total
    if verb is BulkVerb.RECOVER and not alive:
        return any(count and str(phase) not in GOOD for phase, count in counts.phases.items())
    return alive is (verb is BulkVerb.ABORT)

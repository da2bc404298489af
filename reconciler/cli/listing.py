"""`reconciler list`: runs, or the actions of one run."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.text import Text

from reconciler.api.action import RunId, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.cli.commands import Command
from reconciler.cli.documents import counts_document, error_of, summary_document, waiting_text
from reconciler.cli.format import one_line
from reconciler.cli.output import counts_text, emit, note, phase_cell, say, show_table
from reconciler.cli.session import ONE_RUN, Place, connected, place_options
from reconciler.client import Client
from reconciler.client.actions import Actions, position
from reconciler.client.glancing import Glance
from reconciler.core.events import observed_attempts
from reconciler.core.naming import task_name
from reconciler.core.times import iso, span
from reconciler.core.why import Why
from reconciler.stores.counts import RunSummary

_PAGE = 500
_PHASES = [str(phase) for phase in ActionPhase if phase is not ActionPhase.UNSPECIFIED]


@click.command("list", cls=Command)
@click.argument("run", required=False, metavar=f"[{ONE_RUN}]")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Most lines.")
@click.option("--phase", type=click.Choice(_PHASES), help="With RUN: only actions in this phase.")
@click.option("--parent", help="With RUN: only direct children of this action.")
@click.option("--after", default="", help="With RUN: go on behind this line, as the last answer says.")
@place_options(
    project="Project of RUN; without it only its runs.  [default: RECONCILER_PROJECT; else, without RUN, all]",
    domain="Domain of RUN; without it only its runs.  [default: RECONCILER_DOMAIN; else, without RUN, all]",
)
def listing(
    *,
    run: str | None,
    limit: int,
    phase: str | None,
    parent: str | None,
    after: str,
    project: str,
    domain: str,
    as_json: bool,
) -> None:
    """List runs, newest first, with their actions by phase; or the actions of RUN.

    Without RUN, --project and --domain choose among the runs, or their variables where these are set; else all are shown.
    """
    if run is None and (phase or parent or after):
        raise click.UsageError("--phase, --parent and --after need a RUN: they choose among its actions.")
    place = Place(project, domain)
    target = place.one_run(run) if run is not None else None
    with connected(place) as client:
        if target is None:
            _list_runs(client, place, limit, as_json=as_json)
        else:
            reader, named = target.reader(client), target.action.run_id
            _list_actions(
                reader,
                named,
                limit,
                phase,
                reader.actions(named, parent, after),
                Glance(client),
                as_json=as_json,
            )


def _list_runs(client: Client, place: Place, limit: int, *, as_json: bool) -> None:
    found: list[RunSummary] = []
    more = False
    for summary in _all_runs(client, limit + 1):
        if not (place.project in {"", summary.id.project} and place.domain in {"", summary.id.domain}):
            continue
        if len(found) == limit:
            more = True
            break
        found.append(summary)
    if as_json:
        emit({"runs": [_run_document(summary) for summary in found], "more": more})
        return
    now = client.store.now()
    rows = [
        (str(s.id), span(now - s.created_at), str(s.counts.total), counts_text(s.counts.phases))
        for s in found
    ]
    if rows:
        show_table(("RUN", "AGE", "ACTIONS", "PHASES"), rows)
    else:
        note("No runs are stored: none was submitted, or their retention has passed.")
    if more:
        note(f"There are more than {limit} runs; --limit shows more.")


def _all_runs(client: Client, first: int) -> Iterator[RunSummary]:
    """Read all runs, newest first, in pages."""
    page = client.runs(first)
    while page:
        yield from page
        page = client.runs(_PAGE, page[-1])


def _run_document(summary: RunSummary) -> dict[str, object]:
    return {
        "run": str(summary.id),
        "created_at": iso(summary.created_at),
        "actions": summary.counts.total,
        "ended": summary.counts.ended,
        "phases": counts_document(summary.counts),
    }


def _list_actions(
    client: Actions,
    run: RunId,
    limit: int,
    phase: str | None,
    actions: Iterator[TaskAction],
    glance: Glance,
    *,
    as_json: bool,
) -> None:
    counts = client.counts(run)
    found: list[TaskAction] = []
    more = False
    for record in actions:
        if phase and str(record.phase) != phase:
            continue
        if len(found) == limit:
            more = True
            break
        found.append(record)
    go_on = position(found[-1]) if more else None
    if as_json:
        listed = [summary_document(record, glance.stuck(record)) for record in found]
        emit(
            {
                "run": str(run),
                "incarnation": found[0].metadata.incarnation if found else None,
                "phases": counts_document(counts),
                "actions": listed,
                "after": go_on,
            }
        )
        return
    say(f"{run}  {counts_text(counts.phases)}")
    now = client.store.now()
    if found:
        show_table(
            ("ACTION", "PHASE", "ATTEMPT", "TASK", "AGE", "NOTE"),
            [_row(record, now, glance.stuck(record)) for record in found],
        )
    if go_on is not None:
        note(f"There are more; go on with --after {go_on}")


def _row(record: TaskAction, now: int, why: Why | None) -> tuple[str | Text, ...]:
    error = error_of(record)
    remark = waiting_text(record, why) or (f"[{error.code}] {error.message}" if error else "")
    return (
        record.id.action,
        phase_cell(record.phase),
        str(observed_attempts(record)),
        task_name(record),
        span(now - record.metadata.creation_timestamp),
        one_line(remark),
    )

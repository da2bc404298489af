"""`reconciler history delete` and `deleted`: delete runs from the archive, and list what was deleted."""

from __future__ import annotations

import click

from reconciler.archive.requests import DeleteRequest
from reconciler.cli.commands import Command
from reconciler.cli.exits import GivenUp
from reconciler.cli.output import emit, note, say, show_table
from reconciler.cli.session import ONE_RUN, Place, connected, place_options
from reconciler.client import Client
from reconciler.client.to_delete import LOOKED_INTO
from reconciler.core.counted import counted
from reconciler.core.times import iso


@click.command(cls=Command, short_help="Delete a run, or all of a project, from the archive.")
@click.argument("run", metavar=f"[{ONE_RUN}]", required=False)
@click.option("--all", "everything", is_flag=True, help="All runs of --project, or of its --domain.")
@click.option("--incarnation", default="", help="Only this run of all that had the name.")
@click.option("--reason", default="", help="Why; kept in the trace.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@place_options(
    domain="Domain of RUN; with --all only its runs.  [default: RECONCILER_DOMAIN; with --all, where that is not set, all]"
)
def delete(
    *,
    run: str | None,
    everything: bool,
    incarnation: str,
    reason: str,
    yes: bool,
    dry_run: bool,
    project: str,
    domain: str,
    as_json: bool,
) -> None:
    """Delete RUN, or with --all every ended run of a project, from records and archive, with the objects only they name.

    It cannot be undone. What is alive is not meant. A trace stays: `reconciler history deleted`.
    """
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json asks no questions: add --yes, or --dry-run.")
    if everything and (run is not None or incarnation or not project):
        raise click.UsageError(
            "--all takes the place of RUN, and needs --project: all of its runs are meant."
        )
    if run is None and not everything:
        raise click.UsageError("name the RUN, or all runs of a project with --all --project PROJECT.")
    place = Place(project, domain)
    with connected(place) as client:
        request = _planned(client, place, run, incarnation, reason)
        if dry_run or not (request.archived or request.stored):
            _tell(request, _counted(request), as_json=as_json)
            return
        if not yes:
            _ask(request)
        done = client.history.delete(request)
        _tell(done, _sentence(done), as_json=as_json)


@click.command(cls=Command, short_help="Show what was deleted from the archive, when, and by whom.")
@place_options(domain="")
def deleted(*, project: str, as_json: bool) -> None:
    """Show what was deleted from the archive of a project on request, when, by whom, and how much it was."""
    place = Place(project)
    with connected(place) as client:
        found = client.history.deleted(place.settings.project)
    if as_json:
        emit({"deleted": [_document(each) for each in found]})
    elif found:
        rows = [
            (
                _what(each),
                str(each.archived + each.stored),
                str(each.actions),
                iso(each.at) or "",
                iso(each.finished_at) or "not yet",
                str(each.by),
                each.reason,
            )
            for each in found
        ]
        show_table(("WHAT", "RUNS", "ACTIONS", "ASKED", "DONE", "BY", "REASON"), rows)
    else:
        note(f"Nothing of {place.settings.project} was deleted on request.")


def _planned(client: Client, place: Place, run: str | None, incarnation: str, reason: str) -> DeleteRequest:
    if run is None:
        return client.history.plan_delete_project(place.settings.project, domain=place.domain, reason=reason)
    one = place.one_run(run)
    if incarnation and one.incarnation not in {"", incarnation}:
        raise click.UsageError(f"{run} and --incarnation {incarnation} name two runs: leave one of them out.")
    return client.history.plan_delete(
        one.action.run_id, incarnation=incarnation or one.incarnation, reason=reason
    )


def _ask(request: DeleteRequest) -> None:
    """Ask for a yes.

    Raises:
        GivenUp: the answer is another one, or there is nobody to answer.
    """
    say(_counted(request))
    try:
        agreed = click.confirm("Delete them? It cannot be undone.", err=True)
    except click.Abort:
        raise GivenUp("nobody answered, so nothing was deleted; add --yes to be not asked.") from None
    if not agreed:
        raise GivenUp("nothing was deleted.")


def _what(request: DeleteRequest) -> str:
    if request.runs:
        return ", ".join(request.runs)
    return f"{request.project}/{request.domain}/*" if request.domain else f"{request.project}/*"


def _counted(request: DeleteRequest) -> str:
    runs = _runs(request.archived + request.stored - request.too_new)
    parts = [f"{_what(request)}: {runs} with {counted(request.actions, 'action')} would be deleted at once"]
    if request.stored:
        parts[0] += f", {request.stored} of them not archived yet"
    if not request.runs and request.archived > LOOKED_INTO:
        parts.append(
            "which of them are damaged, or archived by a newer release, is found out when they are deleted"
        )
    return "; ".join([*parts, *_staying(request)]) + "."


def _sentence(done: DeleteRequest) -> str:
    gone = done.archived + done.stored - done.too_new
    runs = f"{_runs(gone)} with {counted(done.actions, 'action')}"
    if done.finished_at or done.too_new:
        told = f"{runs} {'was' if gone == 1 else 'were'} deleted; the collector removes the objects"
    else:
        told = (
            f"{runs} {'is' if gone == 1 else 'are'} being deleted: the collector does the rest, as it is much, or some of "
            "it owes clean-up, is read just now, is stored in part, or was stopped lately. "
            "`reconciler history deleted` says when it is done"
        )
    return "; ".join([f"{_what(done)}: {told}", *_staying(done)]) + "."


def _staying(request: DeleteRequest) -> list[str]:
    """Say what will not be deleted."""
    parts = []
    if request.alive:
        parts.append(
            f"{counted(request.alive, 'run is', 'runs are')} alive and will stay: "
            "abort what lives, and delete once more after its end"
        )
    if request.damaged:
        parts.append(
            f"{_runs(request.damaged)} could not be read whole: what lies in folders of the run goes, and what it named "
            "elsewhere is left"
        )
    if request.too_new:
        parts.append(
            f"{counted(request.too_new, 'run stays', 'runs stay')}, archived by a newer "
            "release: the collector of that one deletes such runs"
        )
    if request.held:
        parts.append(f"objects of {request.held} stay as long as runs that were made of them")
    return parts


def _runs(count: int) -> str:
    return counted(count, "run")


def _tell(request: DeleteRequest, sentence: str, *, as_json: bool) -> None:
    if as_json:
        emit(_document(request))
    else:
        say(sentence)


def _document(request: DeleteRequest) -> dict[str, object]:
    return {
        "project": request.project,
        "domain": request.domain or None,
        "runs": list(request.runs) or None,
        "archived": request.archived,
        "actions": request.actions,
        "stored": request.stored,
        "alive": request.alive,
        "held": request.held,
        "damaged": request.damaged,
        "too_new": request.too_new,
        "asked_at": iso(request.at),
        "by": {"actor": request.by.actor, "door": request.by.door},
        "reason": request.reason or None,
        "done_at": iso(request.finished_at),
    }

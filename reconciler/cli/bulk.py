"""`reconciler bulk`: rerun, recover or abort all runs that options choose, counted first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import click

from reconciler.archive.bulk import BulkPlan, BulkVerb, Done
from reconciler.archive.index import Row
from reconciler.archive.query import Found
from reconciler.archive.question_fields import ENDED
from reconciler.cli.commands import Group
from reconciler.cli.exits import ExitCode, GivenUp
from reconciler.cli.filters import ALIVE, Filters, filter_options, whole_name
from reconciler.cli.history import tell_damage
from reconciler.cli.output import emit, note, say, show_table
from reconciler.cli.session import CHOSEN, Place, connected, place_options
from reconciler.client.bulk import LIMIT, Bulk
from reconciler.core.counted import counted
from reconciler.core.times import iso
from reconciler.stores.holds import RunLife

Command = Callable[..., Any]
_SHOWN = 10
_ITS_PROJECT = "Project of the bulk.  [default: RECONCILER_PROJECT]"


@click.group(cls=Group)
def bulk() -> None:
    """Rerun, recover or abort all runs that options choose, stored ones and those the archive remembers.

    They are counted first. What was begun and interrupted goes on with `resume`, and does nothing twice.
    """


def _bulk_options(command: Command) -> Command:
    for option in (
        place_options(domain=CHOSEN),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Only count."),
        click.option("--bulk", "bulk_name", default="", help="Name of the bulk.  [default: a new one]"),
        click.option(
            "--limit",
            type=click.IntRange(1, 100_000),
            default=LIMIT,
            show_default=True,
            help="Most runs; more are refused.",
        ),
    ):
        command = option(command)
    return command


@bulk.command(short_help="Run all of ended runs again.")
@filter_options(ENDED)
@_bulk_options
def rerun(*, filters: Filters, **given: Any) -> None:  # noqa: ANN401  # options, see `_begin`
    """Run all of each chosen run that ended again, with the same inputs, as a new run."""
    _begin(BulkVerb.RERUN, filters, **given)


@bulk.command(short_help="Go on from what succeeded of ended runs.")
@filter_options(ENDED)
@_bulk_options
def recover(*, filters: Filters, **given: Any) -> None:  # noqa: ANN401  # as above
    """Go on from what succeeded of each chosen run in which something did not: a new run, in which only the rest runs.

    `--code MaxSystemFailuresExceeded` chooses what was given up because it ended its workers, again and again.
    """
    _begin(BulkVerb.RECOVER, filters, **given)


@bulk.command(short_help="Stop live runs.")
@filter_options(ALIVE)
@click.option("--reason", required=True, help="Why; stored, and told to the actions and in their events.")
@_bulk_options
def abort(*, filters: Filters, reason: str, **given: Any) -> None:  # noqa: ANN401  # as above
    """Stop each chosen run that is alive."""
    if not reason.strip():
        raise click.UsageError("--reason must not be empty.")
    _begin(BulkVerb.ABORT, filters, reason=reason, **given)


@bulk.command(short_help="Go on with a bulk that was interrupted.")
@click.argument("name", metavar="BULK")
@place_options(project=_ITS_PROJECT, domain="")
def resume(*, name: str, project: str, as_json: bool) -> None:
    """Go on with a bulk that was interrupted. Of one that is done, tell what became of its runs."""
    place = Place(project)
    with connected(place) as client:
        _carry_out(client.bulk.open(name, place.settings.project), as_json=as_json)


@bulk.command("list", short_help="Show the bulks of a project.")
@place_options(project=_ITS_PROJECT, domain="")
def listing(*, project: str, as_json: bool) -> None:
    """Show the bulks of a project, last ones first: what was asked of how many runs, by whom, and how far each came."""
    place = Place(project)
    with connected(place) as client:
        found = [(each.plan, each.done()) for each in client.bulk.planned(place.settings.project)]
    if as_json:
        emit(
            {"bulks": [{**_head(plan), "done": len(done), "refused": _refused(done)} for plan, done in found]}
        )
    elif found:
        rows = [
            (
                plan.name,
                plan.verb,
                str(plan.count),
                str(len(done)),
                str(_refused(done)),
                iso(plan.at) or "",
                str(plan.by),
            )
            for plan, done in found
        ]
        show_table(("BULK", "VERB", "RUNS", "DONE", "REFUSED", "ASKED", "BY"), rows)
    else:
        note(f"There is no bulk of {place.settings.project}.")


def _begin(
    verb: BulkVerb,
    filters: Filters,
    *,
    limit: int,
    bulk_name: str,
    dry_run: bool,
    yes: bool,
    project: str,
    domain: str,
    as_json: bool,
    reason: str = "",
) -> None:
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json asks no questions: add --yes, or --dry-run.")
    place = Place(project, domain)
    with connected(place) as client:
        question = filters.question(place.settings.project, place.domain, client.store.now())
        found = client.bulk.find(verb, question)
        tell_damage(found)
        if dry_run or not found.rows:
            _count(verb, found, limit, as_json=as_json)
            if not (found.rows or as_json) and (hint := whole_name(question)):
                note(hint.strip())
            return
        if not yes:
            _ask(verb, found, limit)
        _carry_out(
            client.bulk.plan(verb, found.rows, name=bulk_name, reason=reason, question=question, limit=limit),
            as_json=as_json,
        )


def _count(verb: BulkVerb, found: Found, limit: int, *, as_json: bool) -> None:
    runs, actions = len(found.rows), sum(row.actions for row in found.rows)
    if as_json:
        told = {"verb": verb, "count": runs, "actions": actions, "limit": limit, "too_many": runs > limit}
        chosen = [_chosen(verb, row, found) for row in found.rows]
        emit({**told, "runs": chosen, "requests": found.requests, "damaged": list(found.damaged)})
        return
    say(
        f"{counted(runs, 'run')} with {counted(actions, 'action')} {'is' if runs == 1 else 'are'} chosen to {verb}."
    )
    if runs > limit:
        say(
            f"That is more than --limit {limit}, so it would be refused: narrow the question, or raise --limit to {runs}."
        )
    for row in found.rows[:_SHOWN]:
        say(f"  {RunLife(row.id, row.incarnation)}")
    if runs > _SHOWN:
        say(f"  … and {runs - _SHOWN} more")


def _chosen(verb: BulkVerb, row: Row, found: Found) -> dict[str, object]:
    return {
        "run": str(row.id),
        "project": row.project,
        "domain": row.domain,
        "incarnation": row.incarnation,
        "phase": row.phase or None,
        "actions": row.actions,
        "archived": row.key not in found.stored,
        "would": verb,
    }


def _ask(verb: BulkVerb, found: Found, limit: int) -> None:
    """Ask for a yes.

    Raises:
        GivenUp: the answer is another one, or there is nobody to answer.
    """
    _count(verb, found, limit, as_json=False)
    try:
        agreed = click.confirm(f"{verb.capitalize()} them?", err=True)
    except click.Abort:
        raise GivenUp("nobody answered, so nothing was done; add --yes to be not asked.") from None
    if not agreed:
        raise GivenUp("nothing was done.")


def _carry_out(begun: Bulk, *, as_json: bool) -> None:
    name = begun.plan.name
    if len(begun.done()) < begun.plan.count:
        note(f"If this is interrupted, `reconciler bulk resume {name}` goes on with it.")
    done = begun.carry_out()
    refused = [each for each in done if each.refused]
    if as_json:
        emit({**_head(begun.plan), "done": len(done), "runs": [_document(each) for each in done]})
    else:
        for each in refused:
            note(f"{each.run}: {each.refused}")
        say(_sentence(begun, done))
        if refused:
            note(
                "What was refused is not tried again by this bulk: once its cause is mended, plan a new one."
            )
    if done and len(refused) == len(done):
        click.get_current_context().exit(ExitCode.USAGE)


def _refused(done: Sequence[Done]) -> int:
    return sum(bool(each.refused) for each in done)


def _sentence(begun: Bulk, done: Sequence[Done]) -> str:
    told = Counter(each.outcome.replace("_", " ") or ("refused" if each.refused else "made") for each in done)
    parts = ", ".join(f"{count} {what}" for what, count in sorted(told.items()))
    return f"{begun.plan.name}: {begun.plan.verb} of {counted(len(done), 'run')}: {parts}."


def _head(plan: BulkPlan) -> dict[str, object]:
    return {
        "bulk": plan.name,
        "verb": plan.verb,
        "count": plan.count,
        "asked_at": iso(plan.at),
        "by": {"actor": plan.by.actor, "door": plan.by.door},
        "reason": plan.reason or None,
    }


def _document(each: Done) -> dict[str, object]:
    return {
        "run": each.run.partition("@")[0],
        "incarnation": each.run.partition("@")[2],
        "made": each.made or None,
        "outcome": each.outcome or None,
        "refused": each.refused or None,
    }

"""`reconciler history`: runs the archive remembers."""

from __future__ import annotations

import click
from click.core import ParameterSource

from reconciler.archive.index import Row
from reconciler.archive.query import Found, Question, ask
from reconciler.archive.question_fields import ENDED
from reconciler.cli.commands import Group
from reconciler.cli.deleting import delete, deleted
from reconciler.cli.filters import Filters, filter_options, whole_name
from reconciler.cli.format import one_line
from reconciler.cli.output import emit, note, show_table
from reconciler.cli.session import CHOSEN, Place, connected, place_options
from reconciler.core.times import iso, span
from reconciler.stores.holds import RunLife


@click.group(cls=Group, invoke_without_command=True)
@filter_options(ENDED)
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Most lines.")
@place_options(domain=CHOSEN)
@click.pass_context
def history(
    context: click.Context, /, *, filters: Filters, limit: int, project: str, domain: str, as_json: bool
) -> None:
    """List archived runs of a project by the day they ended on, last ones first.

    --task, --phase and --code together choose runs in which one action fits all of them. A name may have been used again, so
    a RUN stands with its incarnation here; so `reconciler get`, `list`, `events`, `logs` and `recover` take it.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    place = Place(project, domain)
    with connected(place) as client:
        question = filters.question(place.settings.project, place.domain, client.store.now())
        found = ask(client.blobs, question)
    tell_damage(found)
    _show(found, question, limit, as_json=as_json)
    if not (found.rows or place.settings.archive):
        note(
            "RECONCILER_ARCHIVE is 0 here: where the collector has it, too, ended runs are forgotten and not archived."
        )


history.add_command(delete)
history.add_command(deleted)


def _refuse_options(context: click.Context) -> None:
    """Refuse options before `delete`: `--project` written there would select runs of another project."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"write {given[0]} behind `{context.invoked_subcommand}`.")


def tell_damage(found: Found) -> None:
    """Say which objects of the index cannot be read."""
    for uri in found.damaged:
        note(f"{uri} is damaged, so runs may be missing here: restore it from a copy of the bucket.")


def _show(found: Found, question: Question, limit: int, *, as_json: bool) -> None:
    rows, more = found.rows[:limit], len(found.rows) > limit
    if as_json:
        emit(
            {
                "runs": [_document(row, question) for row in rows],
                "more": more,
                "requests": found.requests,
                "damaged": list(found.damaged),
            }
        )
        return
    if rows:
        show_table(
            ("RUN", "ENDED", "TOOK", "PHASE", "TASK", "ACTIONS", "MATCHING"),
            [
                (
                    str(RunLife(row.id, row.incarnation)),
                    iso(row.ended_at) or "",
                    span(row.ended_at - row.created_at),
                    row.phase,
                    one_line(row.task),
                    str(row.actions),
                    str(question.matching(row)),
                )
                for row in rows
            ],
        )
    else:
        where = f"{question.project}/{question.domain}" if question.domain else question.project
        note(f"No such run of {where} ended from {question.since} to {question.until}.{whole_name(question)}")
    if more:
        note(f"There are more than {limit} runs; --limit shows more.")


def _document(row: Row, question: Question) -> dict[str, object]:
    return {
        "run": str(row.id),
        "incarnation": row.incarnation,
        "created_at": iso(row.created_at),
        "ended_at": iso(row.ended_at),
        "phase": row.phase,
        "task": row.task,
        "actions": row.actions,
        "matching": question.matching(row),
        "groups": [
            {"task": group.task, "phase": group.phase, "code": group.code or None, "count": group.count}
            for group in row.groups
        ],
        "labels": row.labels,
    }

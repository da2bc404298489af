"""`reconciler history`: runs the archive remembers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from reconciler.api.phase import ActionPhase
from reconciler.archive.index import Row
from reconciler.archive.layout import day_of
from reconciler.archive.query import Found, Question, ask
from reconciler.cli.format import one_line
from reconciler.cli.output import emit, note, show_table
from reconciler.cli.session import Place, common_options, connected
from reconciler.core.times import iso, span

_PHASES = [str(phase) for phase in ActionPhase if phase.is_terminal()]


def _day(_: click.Context, __: click.Parameter, text: str | None) -> str:
    if not text:
        return ""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).strftime("%Y-%m-%d")
    except ValueError:
        raise click.BadParameter(f"{text!r} is no day; write YYYY-MM-DD, as 2026-11-28.") from None


def _label(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise click.BadParameter(f"{text!r} is no label; write name=value.")
    return dict(text.split("=", 1) for text in texts)


@click.command()
@click.option("--since", callback=_day, help="First day, YYYY-MM-DD, UTC.  [default: yesterday]")
@click.option("--until", callback=_day, help="Last day.  [default: today]")
@click.option("--task", default="", help="Only runs with an action of this task.")
@click.option("--phase", type=click.Choice(_PHASES), help="Only runs with an action that ended like this.")
@click.option("--code", default="", help="Only runs with an action whose last error has this code.")
@click.option(
    "--label", "labels", multiple=True, callback=_label, help="Only runs with this label, name=value."
)
@click.option("--name", default="", help="Only runs whose name begins like this.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Most lines.")
@common_options
def history(
    *,
    since: str,
    until: str,
    task: str,
    phase: str | None,
    code: str,
    labels: dict[str, str],
    name: str,
    limit: int,
    project: str,
    domain: str,
    as_json: bool,
) -> None:
    """List archived runs of a project by the day they ended on, last ones first.

    --task, --phase and --code together choose runs in which one action fits all of them. `reconciler get RUN` shows one.
    """
    place = Place(project, domain)
    with connected(place) as client:
        today = client.store.now()
        question = Question(
            project=place.settings.project,
            domain=domain,
            since=since or day_of(today - int(timedelta(days=1).total_seconds() * 1000)),
            until=until or day_of(today),
            name=name,
            task=task,
            phase=phase or "",
            code=code,
            labels=labels,
        )
        found = ask(client.blobs, question)
    for uri in found.damaged:
        note(f"{uri} is damaged, so runs may be missing here: restore it from a copy of the bucket.")
    _show(found, question, limit, as_json=as_json)


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
                    str(row.id),
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
        note(f"No such run of {question.project} ended from {question.since} to {question.until}.")
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

"""Options that choose runs: those of `reconciler history` and `reconciler bulk`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import click
from click.core import ParameterSource

from reconciler.api.phase import ActionPhase
from reconciler.archive.layout import day_of
from reconciler.archive.query import Question
from reconciler.archive.question_fields import day_problem, label_problem, name_problem
from reconciler.cli.commands import empty

ALIVE = tuple(
    str(phase) for phase in ActionPhase if not phase.is_terminal() and phase is not ActionPhase.UNSPECIFIED
)
_NAMES = ("since", "until", "task", "phase", "code", "labels", "name")
_DAY = int(timedelta(days=1).total_seconds() * 1000)

Command = Callable[..., Any]


class Filters(dict[str, Any]):
    """The choice of runs that the options make."""

    def question(self, project: str, domain: str, now: int) -> Question:
        """Make the question these options ask; by default of today and yesterday.

        Args:
            project: of the runs.
            domain: of the runs; empty: all.
            now: time of the store, ms.

        Raises:
            UsageError: the first day comes after the last one.
        """
        given = {name: value for name, value in self.items() if value}
        days = {"since": day_of(now - _DAY), "until": day_of(now)}
        asked = Question(project=project, domain=domain or None, **{**days, **given})
        if asked.since > asked.until:
            raise click.UsageError(_wrong_days(asked, given))
        return asked


def whole_name(question: Question) -> str:
    """Say, where nothing was found of a task, how one is named."""
    return (
        f" A task is searched by its whole name, as photos.thumbnail: no action has one of the name {question.task}."
        if question.task
        else ""
    )


def _wrong_days(asked: Question, given: Mapping[str, Any]) -> str:
    """Say which day to change, of those that were given."""
    if "until" not in given:
        return f"--since {asked.since} is yet to come: today is {asked.until}, UTC. Give an earlier day."
    if "since" not in given:
        return f"--until {asked.until} comes before yesterday, {asked.since}, where --since begins: give --since, too."
    return f"--since {asked.since} comes after --until {asked.until}: change one of them."


def filter_options(phases: Iterable[str]) -> Callable[[Command], Command]:
    """Add `--since`, `--until`, `--task`, `--phase`, `--code`, `--label`, `--name`, given to the command as `filters`.

    Args:
        phases: those that can be asked for.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapper(*context: Any, **given: Any) -> Any:  # noqa: ANN401  # options of the command
            filters = Filters({name: given.pop(name) for name in _NAMES})
            return command(*context, filters=filters, **given)

        wrapped: Command = wrapper
        for option in _options(list(phases)):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _options(phases: list[str]) -> list[Callable[[Command], Command]]:
    return [
        click.option("--name", default="", callback=_name, help="Only runs whose name begins like this."),
        click.option(
            "--label",
            "labels",
            multiple=True,
            callback=_label,
            help="Only runs with this label, name=value. May be given several times: a run has all of them.",
        ),
        click.option(
            "--code",
            default="",
            callback=_given,
            help="Only runs with an action whose last error has this code.",
        ),
        click.option("--phase", type=click.Choice(phases), help="Only runs with an action in this phase."),
        click.option("--task", default="", callback=_given, help="Only runs with an action of this task."),
        click.option("--until", callback=_day, help="Last day.  [default: today]"),
        click.option(
            "--since",
            callback=_day,
            help="First day on which they ended, YYYY-MM-DD, UTC.  [default: yesterday]",
        ),
    ]


def _given(context: click.Context, option: click.Parameter, text: str) -> str:
    """Refuse an empty text: where a variable of a shell is not set, all runs would be chosen."""
    if not text and context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
        raise empty(option, context, "all")
    return text


def _name(context: click.Context, option: click.Parameter, text: str) -> str:
    parts = _given(context, option, text).partition("@")[0].split("/")
    if len(parts) == 3:
        raise click.BadParameter(
            f"{text!r} is more than a name: write --name {parts[2]} --project {parts[0]} --domain {parts[1]}."
        )
    if parts != [text]:
        raise click.BadParameter(
            f"{text!r} is more than the beginning of a name: write what stands before '@' or '/' alone."
        )
    return _well(text, name_problem(text, begins=True))


def _day(context: click.Context, option: click.Parameter, text: str | None) -> str:
    if text is None:
        return ""
    if not text:
        raise empty(option, context, "its default")
    return _well(text, day_problem(option.name or "", text))


def _well(text: str, problem: str) -> str:
    if problem:
        raise click.BadParameter(f"{problem}.")
    return text


def _label(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{text!r} is no label; write name=value.")
        _well(text, label_problem(name))
        if found.setdefault(name, value) != value:
            raise click.BadParameter(
                f"{name} is to be {found[name]!r} and {value!r}, and a run has one value of a label: name one."
            )
    return found

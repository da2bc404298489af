"""The rules of all commands: an option counts once, and an empty value is a mistake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import click
from click.core import ParameterSource


class Command(click.Command):
    """A command that refuses an empty value, and a second value for an option that takes one.

    Both come from scripts: of an unset variable an empty text is left, which would choose everything, and the first of two
    values would be dropped in silence.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words of a command line.

        Raises:
            UsageError: an option is given twice, or an empty value.
        """
        _refuse_repeated(self, ctx, args)
        left = super().parse_args(ctx, args)
        _refuse_empty(self, ctx)
        return left


class Group(Command, click.Group):
    """A group of such commands."""

    command_class = Command


def _refuse_repeated(command: click.Command, ctx: click.Context, args: Iterable[str]) -> None:
    _, _, order = command.make_parser(ctx).parse_args(args=list(args))
    for option, times in Counter(order).items():
        if isinstance(option, click.Option) and _takes_one(option) and times > 1:
            raise click.UsageError(f"{option.opts[0]} is given {times} times: give it once.", ctx)


def _takes_one(option: click.Option) -> bool:
    return not (option.multiple or option.is_flag or option.count)


def _refuse_empty(command: click.Command, ctx: click.Context) -> None:
    for option in command.params:
        name = option.name or ""
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and isinstance(option, click.Option) and _is_empty(ctx.params.get(name)):
            raise empty(option, ctx)


def _is_empty(value: object) -> bool:
    return "" in value if isinstance(value, tuple) else value == ""


def empty(option: click.Parameter, ctx: click.Context, meaning: str = "") -> click.UsageError:
    """Make the error of an option that was given an empty value.

    Args:
        option: which one.
        ctx: of its command.
        meaning: what leaving it out means.
    """
    out = f"leave it out to mean {meaning}" if meaning else "give it a value, or leave it out"
    return click.UsageError(
        f"{option.opts[0]} must not be empty: {'give it a value' if option.required else out}.", ctx
    )

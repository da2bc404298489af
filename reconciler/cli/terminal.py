"""The one door to the terminal: every other module of the command line writes through here.

What people see was written by anybody: names, messages, logs, results. Nothing of it may move the cursor, turn the
direction of writing, hide a character or begin a line of its own in a table.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO, cast

import click

from reconciler.cli.format import json_safe
from reconciler.core.visible import visible


def write(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Write a text. Of control sequences only those for colours pass: texts of others go through `visible` before.

    Args:
        text: what to write.
        err: to stderr.
        nl: whether a line feed follows.
    """
    click.echo(visible(text, colours=True), err=err, nl=nl)


def write_json(document: bytes, *, err: bool = False) -> None:
    """Write a JSON document: what could steer a terminal is escaped, so it is the same document for every reader."""
    click.echo(json_safe(document.decode()), err=err)


def write_bytes(data: bytes) -> None:
    """Write to a pipe or a file byte for byte; a terminal gets only what is visible."""
    if sys.stdout.isatty():
        write(data.decode(errors="replace"), nl=not data.endswith(b"\n"))
    else:
        click.echo(data, nl=False)


def styled(text: str, **style: Any) -> str:  # noqa: ANN401  # what click.style takes
    """Give a style to a text from outside."""
    return click.style(visible(text), **style)


def console(width: int | None = None, *, highlight: bool = True) -> Any:  # noqa: ANN401  # rich is imported when needed
    """Make a console for tables and bars, whose cells have gone through `visible`.

    Args:
        width: columns; those of the window when not given.
        highlight: whether numbers and names are coloured.
    """
    from rich.console import Console  # noqa: PLC0415  # not needed for --help

    return Console(file=sys.stdout, width=width, highlight=highlight)


def safe_stderr() -> TextIO:
    """Wrap stderr for loggers: what they write is made safe."""
    return cast("TextIO", _Stderr())


class _Stderr:
    def write(self, text: str) -> int:
        return sys.stderr.write(visible(text, colours=True))

    def flush(self) -> None:
        sys.stderr.flush()

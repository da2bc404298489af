"""Write to stdout: JSON for programs, tables and lines for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import msgspec
from rich.text import Text

from reconciler.api.phase import ActionPhase
from reconciler.cli.format import in_row
from reconciler.cli.tables import laid_out
from reconciler.cli.terminal import console, styled, write, write_json
from reconciler.core.visible import visible

_COLOURS = {
    ActionPhase.SUCCEEDED: "green",
    ActionPhase.RECOVERED: "green",
    ActionPhase.FAILED: "red",
    ActionPhase.TIMED_OUT: "red",
    ActionPhase.ABORTED: "magenta",
    ActionPhase.RUNNING: "cyan",
    ActionPhase.PAUSED: "yellow",
}


def emit(document: object) -> None:
    """Print one JSON document on one line. Integers of any size are exact."""
    write_json(msgspec.json.encode(document))


def say(text: str) -> None:
    """Print one line for people, made safe for terminals."""
    write(visible(text))


def note(text: str) -> None:
    """Print a remark on stderr, beside the output."""
    write(visible(text), err=True)


def phase_text(phase: ActionPhase) -> str:
    """Write a phase in its colour."""
    return styled(str(phase), fg=_COLOURS.get(phase))


def phase_cell(phase: ActionPhase) -> Text:
    """Write a phase in its colour, as a cell of a table."""
    return Text(str(phase), style=_COLOURS.get(phase, ""))


def counts_text(phases: dict[ActionPhase, int]) -> str:
    """Write `3 succeeded, 1 failed`, in the order of the phases."""
    return ", ".join(f"{phases[phase]} {phase}" for phase in sorted(phases)) or "no actions"


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table. On a terminal it fits the window, and nothing is cut (`laid_out`). In a pipe a row is a line."""
    cells = [[cell if isinstance(cell, Text) else Text(in_row(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        _write_plain([[Text(column) for column in columns], *cells])
        return
    console().print(laid_out(columns, cells, console().width))


def _write_plain(rows: Sequence[Sequence[Text]]) -> None:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.plain.ljust(width) for cell, width in zip(row, widths, strict=True))
        write(line.rstrip())


def show_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print lines of `name  value`; further lines of a value are indented below it. Empty values are left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        lines = visible(value).splitlines()
        write(f"  {styled(name.ljust(width), bold=True)}  {lines[0] if lines else ''}")
        for line in lines[1:]:
            write(f"  {'':{width}}  {line}")

"""Draw what the demo shows: a bar on a terminal, a few plain lines elsewhere, and a table at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from reconciler.cli.survey import Package
from reconciler.cli.terminal import console
from reconciler.core.visible import visible

_WIDTH = 100
"""Columns when stdout is no terminal."""
_STEPS = 4
"""Lines a bar is replaced by when stdout is no terminal."""


class Screen:
    """stdout, as a terminal or not."""

    def __init__(self) -> None:
        terminal = sys.stdout.isatty()
        self._console = console(None if terminal else _WIDTH, highlight=False)

    def say(self, text: str = "") -> None:
        """Print a text as it is; the terminal breaks long lines, so that they can be copied whole."""
        self._console.print(visible(text), markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar inside the block; the function it yields takes the number of finished actions."""
        if not self._console.is_terminal:
            yield self._lines(total)
            return
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("actions"), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task("", total=total)
            yield lambda done: bar.update(task, completed=done)

    def _lines(self, total: int) -> Callable[[int], None]:
        said = 0

        def show(done: int) -> None:
            nonlocal said
            step = done * _STEPS // total
            if step > said:
                said = step
                self.say(f"{done} of {total} actions have ended")

        return show

    def table(self, packages: Sequence[Package]) -> None:
        """Show the rows in the given order."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("package", no_wrap=True)
        for name in ("files", "lines", "functions", "classes"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("longest function", overflow="fold")
        table.add_column("lines", justify="right", no_wrap=True)
        for row in packages:
            numbers = (row.files, row.lines, row.functions, row.classes)
            longest = (row.longest, f"{row.longest_lines:,}") if row.longest else ()
            table.add_row(row.name, *(f"{number:,}" for number in numbers), *longest)
        self._console.print(table, markup=False)

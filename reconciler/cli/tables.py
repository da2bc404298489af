"""Tables on a terminal: rows and columns where the window is wide enough, else one block for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text

_GAP = 2
"""Blanks between two columns."""
_LAST = 16
"""Characters that suffice for the last column: it holds sentences, whose words may be folded, too."""

_INDENT = 2
_LEAST = 8
"""Characters a value needs beside its name; with fewer it stands behind it, on as many lines as it takes."""
Rows = Sequence[Sequence[Text]]


def laid_out(columns: Sequence[str], rows: Rows, width: int) -> Any:  # noqa: ANN401  # rich is imported when needed
    """Lay rows out for a window of this many columns. Nothing is cut; names stay in one piece, to be copied."""
    return _table(columns, rows) if is_wide_enough(columns, rows, width) else _blocks(columns, rows, width)


def is_wide_enough(columns: Sequence[str], rows: Rows, width: int) -> bool:
    """Tell whether names, and words of other cells, would stay in one piece."""
    first, *others = zip(columns, *rows, strict=True)
    needed = [max(cell_len(str(cell)) for cell in first)]
    needed += [
        max(cell_len(word) for cell in column for word in [*str(cell).split(), ""]) for column in others
    ]
    return sum(needed[:-1]) + min(needed[-1], _LAST) + _GAP * (len(columns) - 1) <= width


def _table(columns: Sequence[str], rows: Rows) -> Any:  # noqa: ANN401  # as above
    from rich.table import Table  # noqa: PLC0415  # not needed for --help

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        table.add_column(name, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*row)
    return table


def _blocks(columns: Sequence[str], rows: Rows, width: int) -> Any:  # noqa: ANN401  # as above
    """Make a block of each row, headed by its first cell: for a window too narrow for a table."""
    from rich.console import Group  # noqa: PLC0415  # as above
    from rich.padding import Padding  # noqa: PLC0415  # as above

    beside = max(map(len, columns[1:]), default=0) + _INDENT + _GAP + _LEAST <= width
    make = _pairs if beside else _lines
    parts: list[Any] = []
    for row in rows:
        heading = row[0].copy()
        heading.stylize("bold")
        heading.overflow = "fold"
        parts += [heading, Padding(make(columns[1:], row[1:]), (0, 0, 0, _INDENT))]
    return Group(*parts)


def _pairs(names: Sequence[str], cells: Sequence[Text]) -> Any:  # noqa: ANN401  # as above
    from rich.table import Table  # noqa: PLC0415  # as above

    block = Table(box=None, show_header=False, pad_edge=False)
    block.add_column(style="bold", no_wrap=True)
    block.add_column(overflow="fold", min_width=1)  # a mark without a base takes no column, and is shown
    for name, cell in zip(names, cells, strict=True):
        block.add_row(name, cell)
    return block


def _lines(names: Sequence[str], cells: Sequence[Text]) -> Text:
    parts = [Text(f"{name} ", style="bold") + cell for name, cell in zip(names, cells, strict=True)]
    found = Text("\n").join(parts)
    found.overflow = "fold"
    return found

"""Tables on windows of any width: nothing is cut, and names can be copied."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from reconciler.cli.format import in_row
from reconciler.cli.tables import is_wide_enough, laid_out

COLUMNS = ("RUN", "AGE", "PHASES")
NAME = "default/development/photos-2026"


def shown(columns: tuple[str, ...], rows: list[tuple[str, ...]], width: int) -> list[str]:
    """Return the lines of a table in a window of that width."""
    out = io.StringIO()
    cells: Any = [[Text(in_row(cell)) for cell in row] for row in rows]
    Console(file=out, width=width, color_system=None).print(laid_out(columns, cells, width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_row_is_a_line_where_there_is_room() -> None:
    """Names are whole, and sentences of the last column are folded at their words."""
    assert shown(COLUMNS, [(NAME, "3s", "1 failed")], 80) == [
        f"{'RUN':31}  AGE  PHASES",
        f"{NAME}  3s   1 failed",
    ]
    assert shown(COLUMNS, [(NAME, "3s", "1 queued, 2 running, 3 failed")], 55)[-2:] == [
        f"{NAME}  3s   1 queued, 2",
        f"{'':31}       running, 3 failed",
    ]


def test_a_row_is_a_block_in_a_narrow_window() -> None:
    """Its name is the heading, in one piece as long as the window is wide enough for it."""
    assert shown(COLUMNS, [(NAME, "3s", "1 failed"), ("x", "4s", "2 queued")], 40) == [
        NAME,
        "  AGE     3s",
        "  PHASES  1 failed",
        "x",
        "  AGE     4s",
        "  PHASES  2 queued",
    ]


@pytest.mark.parametrize("width", [10, 20, 40, 80, 200])
@example([("1234567890123456", "\U0001f3fb", "")])
@given(st.lists(st.tuples(*[st.text(max_size=60)] * 3), max_size=4))
def test_nothing_is_cut_and_nothing_is_wider(width: int, rows: list[tuple[str, ...]]) -> None:
    """Whatever the cells hold: all of it is there, and no line is longer than the window."""
    lines = shown(COLUMNS, rows, width)
    assert all(Console(width=width).measure(Text(line)).maximum <= width for line in lines)
    for row in rows:
        for cell in row:
            left = "".join(lines)
            for character in in_row(cell):
                if not character.isspace():
                    assert character in left


def test_no_rows_are_a_heading() -> None:
    """Where there is room for one."""
    assert shown(COLUMNS, [], 80) == ["RUN  AGE  PHASES"]
    assert not is_wide_enough(COLUMNS, [], 10)

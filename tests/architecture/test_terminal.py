"""The command line writes to the terminal by one door, which neutralises what it writes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import reconciler.cli

FOLDER = Path(reconciler.cli.__file__).parent
DOOR = "terminal.py"
WRITERS = {"echo", "secho", "echo_via_pager", "error.show", "Console", "PrintLogger", "print", "style"}
"""Names of functions that write, or that make what writes."""


def others(source: str) -> list[str]:
    """Yield the calls in a source that write to stdout or stderr without the door."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        inside = ast.unparse(node)
        if name == "PrintLogger" and "safe_stderr()" in inside:
            continue
        direct = called.startswith(
            ("sys.stdout", "sys.stderr", "sys.__std", "os.write")
        ) and not called.endswith((".isatty", ".fileno", ".flush"))
        if direct or ({name, called} & WRITERS and called not in {"self._console.print", "console().print"}):
            found.append(f"line {node.lineno}: {inside[:60]}")
    return found


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_no_module_writes_by_another_way(path: Path) -> None:
    """A new command that calls click.echo, print or a stream itself is refused: `reconciler.cli.terminal` is the way."""
    assert path.name == DOOR or others(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    ["click.echo(x)", "print(x)", "sys.stdout.write(x)", "sys.stdout.buffer.write(x)", "Console().print(x)",
     "structlog.PrintLogger(sys.stderr)", "error.show()", "click.secho(x)", "os.write(1, x)", "click.style(x)"],
)  # fmt: skip
def test_other_ways_are_seen(source: str) -> None:
    """Each way around the door is reported."""
    assert others(source)

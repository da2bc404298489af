"""`reconciler top`: queues and workers as they are, shown again and again."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from reconciler.cli.commands import Command
from reconciler.cli.durations import duration
from reconciler.cli.format import in_row
from reconciler.cli.output import emit, say, show_table
from reconciler.cli.session import Place, connected
from reconciler.cli.standing import health_document
from reconciler.cli.tables import laid_out
from reconciler.cli.terminal import console
from reconciler.core.counted import counted
from reconciler.core.documents import Document
from reconciler.core.times import span

_QUEUES = ("QUEUE", "WAITING", "WORKERS", "FUNCTIONS", "STATE", "LIMIT")
_LOSSES = ("WHEN", "ACTION", "WHAT")
_SHOWN = 8
_WORKERS = ("WORKER", "PROCESS", "QUEUES", "FUNCTIONS", "UP", "TROUBLES")


@click.command(cls=Command)
@click.option("--every", type=duration, default="2s", show_default=True, help="Time between two looks.")
@click.option("--once", is_flag=True, help="Look once, as when stdout is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Look once, and answer with JSON, for programs.")
def top(*, every: float, once: bool, as_json: bool) -> None:
    """Show how late the oldest step is, what waits in each queue, the living workers, and what went wrong within a day.

    On a terminal it looks again until Ctrl-C.
    """
    with connected(Place("", "")) as client:
        found = health_document(client)
        if as_json:
            emit(found)
        elif once or not sys.stdout.isatty():
            say(_head(found))
            show_table(_QUEUES, _queues(found))
            say("")
            show_table(_WORKERS, _workers(found))
            if losses := _losses(found):
                say("")
                show_table(_LOSSES, losses)
        else:
            _follow(lambda: health_document(client), found, max(every, 0.2))


def _follow(look: Any, found: Document, every: float) -> None:  # noqa: ANN401  # a function without arguments
    """Show it again and again until the person at the keyboard stops it, which is no error."""
    from rich.live import Live  # noqa: PLC0415  # not needed for --help

    try:
        window = console()
        shown = screen(found, window)
        with Live(shown, console=window, auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(every)
                live.update(screen(look(), window), refresh=True)
    except KeyboardInterrupt:
        return


def screen(found: Document, window: Any) -> Any:  # noqa: ANN401  # rich is imported when needed
    """Draw what is found, as much as the window holds; a last line says how much more there is."""
    from rich.console import Group  # noqa: PLC0415  # not needed for --help
    from rich.segment import SegmentLines  # noqa: PLC0415  # as above
    from rich.text import Text  # noqa: PLC0415  # as above

    width, losses = window.width, _losses(found)
    shown = Group(
        Text(_head(found), style="bold"),
        Text(),
        _table(_QUEUES, _queues(found), width),
        Text(),
        _table(_WORKERS, _workers(found), width),
        *((Text(), _table(_LOSSES, losses, width)) if losses else ()),
    )
    lines = window.render_lines(shown, pad=False)
    if len(lines) <= window.height:
        return shown
    room = window.height - 1
    more = f"… {counted(len(lines) - room, 'line')} more: `reconciler top --once`"
    return Group(
        SegmentLines(lines[:room], new_lines=True), Text(more, no_wrap=True, overflow="crop", style="dim")
    )


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]], width: int) -> Any:  # noqa: ANN401  # as above
    from rich.text import Text  # noqa: PLC0415  # as above

    return laid_out(columns, [[Text(in_row(cell)) for cell in row] for row in rows], width)


def _head(found: Document) -> str:
    late = f"the oldest step is {span(found['late'])} late" if found["late"] >= 1000 else "no step is late"
    swept = ", ".join(_tick(one, found["now"]) for one in found["schedules"])
    waiting = counted(sum(queue["waiting"] for queue in found["queues"]), "launch waits", "launches wait")
    workers = counted(len(found["workers"]), "worker lives", "workers live")
    lost = counted(found["lost"]["count"], "worker lease was", "worker leases were")
    more = f"; {lost} lost within a day" if found["lost"]["count"] else ""
    return f"{late}; {waiting}; {workers}; swept: {swept or 'never'}{more}"


def _tick(one: Document, now: int) -> str:
    if one["last"] is None:
        return f"{one['name']} never"
    left = one["next"] - now
    ahead = f"next in {span(left)}" if left > 0 else f"next due since {span(-left)}"
    return f"{one['name']} {span(now - one['last'])} ago, {ahead}"


def _losses(found: Document) -> list[tuple[str, ...]]:
    """List lost workers and stuck clean-ups, one line each."""
    return [
        (
            f"{span(found['now'] - one['at'])} ago" if one["at"] else "-",
            one["action"],
            _first_line(one["message"]),
        )
        for one in [*found["lost"]["newest"], *found["cleanups"]][:_SHOWN]
    ]


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:200]


def _queues(found: Document) -> list[tuple[str, ...]]:
    return [
        (
            queue["name"],
            str(queue["waiting"]),
            str(queue["workers"]),
            str(len(queue["functions"])),
            "paused" if queue["paused"] else "open" if queue["workers"] else "no worker",
            "none" if queue["limit"] is None else str(queue["limit"]),
        )
        for queue in found["queues"]
    ]


def _workers(found: Document) -> list[tuple[str, ...]]:
    return [
        (
            worker["name"],
            worker["process"],
            ", ".join(worker["queues"]),
            "-" if worker["functions"] is None else str(worker["functions"]),
            span(found["now"] - worker["started"]),
            " ".join(worker["troubles"]) or "none",
        )
        for worker in found["workers"]
    ]

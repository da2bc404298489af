"""The tree of a run on a terminal, live: many equal siblings are one line, and what changes is read, not everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.api.errors import ResultTimeout
from reconciler.api.phase import ActionPhase
from reconciler.cli.documents import error_of
from reconciler.cli.format import in_row, one_line
from reconciler.cli.output import counts_text, phase_cell
from reconciler.cli.terminal import console
from reconciler.client.actions import Actions
from reconciler.client.waiting import Waiter
from reconciler.core.counted import counted
from reconciler.core.naming import task_name
from reconciler.core.status_conditions import terminal_time
from reconciler.core.times import span

_MANY = 6
"""Equal siblings of which one line is made."""
_PACE = 0.3
"""Seconds between two pictures, at least."""


class RunTree:
    """The known actions of a run.

    Args:
        client: reads them.
        run: which run.
    """

    def __init__(self, client: Actions, run: RunId) -> None:
        self._client = client
        self._run = run
        self._shard = client.store.shard_of(run)
        self.now = client.store.now()
        self._cursor = f"{self.now - 1}-0"
        self._records = {record.id.action: record for record in client.actions(run)}

    def look(self) -> None:
        """Read what has changed since the last look."""
        more = True
        while more:
            entries = self._client.store.channel(self._shard, self._cursor)
            self._cursor, more = (entries[-1].cursor, True) if entries else (self._cursor, False)
            ids = list(dict.fromkeys(e.event.id for e in entries if e.event.id.run_id == self._run))
            for record in self._client.store.get_many(ids):
                if record is not None:
                    self._records[record.id.action] = record
        self.now = self._client.store.now()

    def counts(self) -> dict[ActionPhase, int]:
        """Count the known actions by phase."""
        found: dict[ActionPhase, int] = {}
        for record in self._records.values():
            found[record.phase] = found.get(record.phase, 0) + 1
        return found

    def lines(self, parent: str = "", level: int = 0) -> Iterator[tuple[int, list[TaskAction]]]:
        """List the lines of the tree from its roots: each with its level and the actions it stands for."""
        below: dict[str, list[TaskAction]] = {}
        for record in self._records.values():
            below.setdefault(record.spec.parent_action_name or "", []).append(record)
        yield from _lines(below, parent, level)


def _lines(
    below: dict[str, list[TaskAction]], parent: str, level: int
) -> Iterator[tuple[int, list[TaskAction]]]:
    groups: dict[tuple[str, ...], list[TaskAction]] = {}
    for record in below.get(parent, ()):
        alone = record.id.action in below
        key = (record.id.action,) if alone else (record.spec.short_name, str(record.phase))
        groups.setdefault(key, []).append(record)
    for members in groups.values():
        if len(members) > _MANY:
            yield level, members
            continue
        for record in members:
            yield level, [record]
            yield from _lines(below, record.id.action, level + 1)


def follow_tree(
    client: Actions, root: ActionId, timeout: float | None, stuck: Callable[[TaskAction], str]
) -> None:
    """Show the tree of a run until its root has ended.

    Args:
        client: reads it.
        root: of the run.
        timeout: longest wait, seconds; None = no limit.
        stuck: says why no worker takes the root, empty when one may.

    Raises:
        ActionNotFound: there is no such run.
        ResultTimeout: `timeout` seconds passed before the end.
    """
    from rich.live import Live  # noqa: PLC0415  # not needed for --help

    record = client.get(root)
    with Waiter(client.store, root.run_id, timeout) as waiter:
        tree, screen = RunTree(client, root.run_id), console()
        height = screen.height - 2
        with Live(picture(tree, height, stuck(record)), console=screen, auto_refresh=False) as live:
            while not record.phase.is_terminal():
                if not waiter.wait():
                    raise ResultTimeout(f"{root} had not ended after {timeout} s; it goes on: watch again")
                time.sleep(_PACE)
                tree.look()
                live.update(picture(tree, height, stuck(record)), refresh=True)
                record = client.get(root)
            tree.look()
            live.update(picture(tree, height), refresh=True)


def picture(tree: RunTree, height: int, stuck: str = "") -> Any:  # noqa: ANN401  # rich is imported when needed
    """Draw the tree as a table of at most this many lines, below a line of counts; and why nothing goes on."""
    from rich.console import Group  # noqa: PLC0415  # not needed for --help
    from rich.padding import Padding  # noqa: PLC0415  # as above
    from rich.progress_bar import ProgressBar  # noqa: PLC0415  # as above
    from rich.table import Table  # noqa: PLC0415  # as above
    from rich.text import Text  # noqa: PLC0415  # as above

    counts = tree.counts()
    ended = sum(number for phase, number in counts.items() if phase.is_terminal())
    table = Table(box=None, pad_edge=False, show_header=False)
    for gives_room in (
        True,
        False,
        False,
        True,
    ):  # the name and the error; their texts are cut, and do not wrap
        table.add_column(overflow="ellipsis", no_wrap=not gives_room)
    lines = list(tree.lines())
    room = max(height - 3, 3)
    for level, members in lines[:room]:
        table.add_row(*_cells(level, members, tree.now))
    left = len(lines) - room
    rest = Text(
        f"… and {counted(left, 'line')} more: `reconciler list RUN` shows them" if left > 0 else "",
        style="dim",
    )
    total = sum(counts.values())
    bar = Padding(ProgressBar(total=max(total, 1), completed=ended, width=40), 0)  # a line of its own
    why = [Text(f"{stuck}.", style="yellow")] if stuck else []
    return Group(Text(f"{ended} of {total} ended: {counts_text(counts)}"), bar, table, rest, *why)


def _cells(level: int, members: list[TaskAction], now: int) -> tuple[Any, ...]:
    from rich.text import Text  # noqa: PLC0415  # not needed for --help

    record = members[0]
    task = task_name(record)
    name = record.id.action if len(members) == 1 else f"{len(members)} × {task}"  # noqa: RUF001  # a sign people know
    error = error_of(record)
    took = (terminal_time(record.status) or now) - record.metadata.creation_timestamp
    return (
        Text("  " * level + in_row(name), no_wrap=True, overflow="ellipsis"),
        phase_cell(record.phase),
        Text(span(took), style="dim"),
        Text(
            in_row(one_line(f"[{error.code}] {error.message}")) if error else "",
            style="red",
            no_wrap=True,
            overflow="ellipsis",
        ),
    )

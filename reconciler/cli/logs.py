"""`reconciler logs`: what the function of an attempt has written to stdout and stderr, also while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import InvalidInput
from reconciler.api.phase import ActionPhase
from reconciler.cli.commands import Command
from reconciler.cli.log_places import LogPlace, place_of, read_log
from reconciler.cli.output import emit, note
from reconciler.cli.session import ONE, Place, common_options, connected, leaving_it_running
from reconciler.cli.terminal import write_bytes
from reconciler.client.actions import Actions
from reconciler.core.events import observed_attempts

_LOOK_EVERY = 1.0
"""Seconds between two looks of --follow; a worker stores a growing log every two."""


@click.command(cls=Command)
@click.argument("action", metavar=ONE)
@click.option("--attempt", type=click.IntRange(1), help="Which attempt, from 1.  [default: the last one]")
@click.option("--tail", type=click.IntRange(0), metavar="LINES", help="Begin with so many lines of its end.")
@click.option(
    "-f", "--follow", is_flag=True, help="Go on until the attempt ends; without --attempt, the action."
)
@common_options
def logs(
    *,
    action: str,
    attempt: int | None,
    tail: int | None,
    follow: bool,
    project: str,
    domain: str,
    as_json: bool,
) -> None:
    """Print the log of an attempt; of a running one, what it has written up to some seconds ago.

    Into a pipe or a file it goes byte for byte; on a terminal, only control sequences for colours are obeyed.
    """
    if follow and as_json:
        raise click.UsageError("--json is one document: leave out --follow.")
    place = Place(project, domain)
    one = place.one(action)
    target = one.action
    with connected(place) as client, leaving_it_running(target):
        reader = _Reader(one.reader(client), target, attempt, place.settings.max_object_size)
        if follow:
            _print_growing(reader, tail)
            return
        found, text = reader.look()
        text = _last_lines(text, tail)
        if as_json:
            uri = found.uri if found and (found.whole or text) else None
            emit({"action": str(target), "uri": uri, "log": text.decode(errors="replace")})
        elif text:
            write_bytes(text)
        else:
            note(reader.why_none())


class _Reader:
    """Reads the log of one attempt, or of the newest attempt."""

    def __init__(self, client: Actions, target: ActionId, attempt: int | None, limit: int) -> None:
        self._client = client
        self._target = target
        self._wanted = attempt
        self._limit = limit
        self._record = client.get(target)
        if attempt is not None and attempt > observed_attempts(self._record):
            count = observed_attempts(self._record)
            raise InvalidInput(
                f"{target} has had {count} attempts, none is number {attempt}; name one from 1 to {count}."
            )

    @property
    def _attempt(self) -> int:
        return self._wanted or observed_attempts(self._record)

    def look(self) -> tuple[LogPlace | None, bytes]:
        """Return where the log lies, and its text now."""
        self._record = self._client.get(self._target)
        return self._read(self._attempt)

    def grown(self, before: LogPlace | None) -> Iterator[tuple[LogPlace | None, bytes]]:
        """Read the log of `before` once more if another attempt has begun since; then `look`."""
        found, text = self.look()
        if before is not None and found is not None and found.folder != before.folder:
            yield before, read_log(self._client, before._replace(sha256="", whole=False), self._limit)
        yield found, text

    @property
    def ended(self) -> bool:
        """Tell whether, as of the last look, nothing more will come."""
        return self._record.phase.is_terminal() or self._attempt < observed_attempts(self._record)

    def why_none(self) -> str:
        """Say why there is no log."""
        return _why_none(self._record, self._attempt, ended=self.ended)

    def _read(self, attempt: int) -> tuple[LogPlace | None, bytes]:
        place = place_of(self._record, self._client.events(self._target), attempt)
        return place, b"" if place is None else read_log(self._client, place, self._limit)


def _print_growing(reader: _Reader, tail: int | None) -> None:
    """Print what is there, then what comes, until the end."""
    place, shown, printed = None, 0, False
    while True:
        for found, text in reader.grown(place):
            if found is None or place is None or found.folder != place.folder:
                if printed and found is not None:
                    note(f"-- attempt {found.attempt}: {found.folder.rpartition('/')[2]} --")
                shown = 0 if printed else len(text) - len(_last_lines(text, tail))
            place = found
            if len(text) > shown:
                write_bytes(text[shown:])
                shown, printed = len(text), True
        if reader.ended:
            break
        time.sleep(_LOOK_EVERY)
    if not printed:
        note(reader.why_none())


def _last_lines(text: bytes, count: int | None) -> bytes:
    if count is None:
        return text
    return b"".join(text.splitlines(keepends=True)[-count:]) if count else b""


def _why_none(record: TaskAction, number: int, *, ended: bool) -> str:
    lineage = record.metadata.lineage
    if record.phase is ActionPhase.RECOVERED and lineage is not None:
        return (
            f"{record.id} was taken over as it had ended, so it wrote nothing: "
            f"`reconciler logs {lineage.source}/{record.id.action}` prints the log of that run, as long as it is kept."
        )
    attempt = f"attempt {number} of {record.id}"
    if ended:
        return f"No log is stored: {attempt} wrote nothing, or was not run by a worker."
    if record.phase is not ActionPhase.RUNNING:
        return f"No log is stored yet: {attempt} has not begun ({record.phase})."
    return f"No log is stored yet: {attempt} had written nothing until some seconds ago."

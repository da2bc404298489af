"""`reconciler logs`: what the function of the last attempt wrote to stdout and stderr."""

from __future__ import annotations

import click

from reconciler.api.action import TaskAction
from reconciler.cli.documents import log_uri
from reconciler.cli.output import emit, note
from reconciler.cli.session import Place, common_options, connected
from reconciler.cli.terminal import write_bytes
from reconciler.core.events import observed_attempts


@click.command()
@click.argument("action", metavar="RUN[/ACTION]")
@common_options
def logs(*, action: str, project: str, domain: str, as_json: bool) -> None:
    """Print the stored log of the last attempt. A log is stored when its attempt ends.

    Into a pipe or a file it goes byte for byte; on a terminal, only control sequences for colours are obeyed.
    """
    place = Place(project, domain)
    target = place.action(action)
    with connected(place) as client:
        record = client.get(target)
        uri = log_uri(record, client.events(target))
        data = client.blobs.get(uri, limit=place.settings.max_object_size) if uri else b""
    if as_json:
        emit({"action": str(target), "uri": uri or None, "log": data.decode(errors="replace")})
    elif not uri:
        note(_why_none(record))
    else:
        write_bytes(data)


def _why_none(record: TaskAction) -> str:
    attempt = f"attempt {observed_attempts(record)} of {record.id}"
    if record.phase.is_terminal():
        return f"No log is stored: {attempt} wrote nothing, or was not run by a worker."
    return f"No log is stored yet: {attempt} has not ended ({record.phase})."

"""`reconciler result`: the output of an action, once it has one."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click
import msgspec

from reconciler.api.action import ActionId
from reconciler.cli.commands import Command
from reconciler.cli.durations import duration
from reconciler.cli.output import note
from reconciler.cli.session import ONE, One, Place, common_options, connected, leaving_it_running
from reconciler.cli.terminal import write, write_json
from reconciler.client import Client, Run
from reconciler.core.redaction import redaction_of
from reconciler.core.visible import visible
from reconciler.plugins.group_config import config_of

_values = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL = msgspec.Raw(b"null")
_SHOWN = 24
_PACKED = re.compile(rb'(?P<name>"(?:npy|parquet)": ")(?P<data>[A-Za-z0-9+/=]{100,})')
"""An array or a frame in an output, see docs/types.md."""


@click.command(cls=Command)
@click.argument("action", metavar=ONE)
@click.option("--timeout", type=duration, help="Longest wait, as 60, 10s or 2h.  [default: no limit]")
@common_options
def result(*, action: str, timeout: float | None, project: str, domain: str, as_json: bool) -> None:
    """Wait for an action and print its output; for a group, the list of its members' outputs.

    An output that is a text is printed as it is; --json quotes it, like any other JSON value. One that is redacted is not
    printed.
    """
    place = Place(project, domain)
    target = place.one(action)
    with connected(place) as client, leaving_it_running(target.action):
        print_value(await_value(client, target.action, timeout, target.incarnation), as_json=as_json)


def await_value(
    client: Client, action: ActionId, timeout: float | None, incarnation: str = ""
) -> msgspec.Raw | None:
    """Wait for the output as JSON, byte for byte as written, so that numbers of any size stay exact; None: it is redacted.

    Args:
        client: of the action's servers.
        action: which one.
        timeout: seconds; None waits as long as it takes.
        incarnation: of its run; empty: the one there is, or the last one.

    Raises:
        ActionFailed, ActionAborted, ActionTimedOut: it ended otherwise; for a group, its first such member.
        ActionNotFound, ResultTimeout: see `Client.wait`.
    """
    reader = One(action, incarnation).reader(client)
    record = reader.wait(action, timeout)
    config = config_of(record.spec)
    if config is None:
        return None if redaction_of(record).outputs else _single(reader.outputs(record))
    found = Run[Sequence[msgspec.Raw]](
        client, action, _single, members=config.expected, incarnation=incarnation
    ).result()
    below = reader.actions(action.run_id, parent=action.action)
    if any(redaction_of(child).outputs for child in below):
        return None
    return msgspec.Raw(msgspec.json.encode(list(found)))


def _single(data: bytes) -> msgspec.Raw:
    """Take the single output, or all of them as one object, or null: as `Client.result` has it."""
    values = _values.decode(data)
    if not values:
        return _NULL
    return next(iter(values.values())) if len(values) == 1 else msgspec.Raw(data)


def print_value(value: msgspec.Raw | None, *, as_json: bool) -> None:
    """Print the value: for people, a text as it is and all else indented; for programs, on one line.

    Of one that is redacted nothing, so that nobody takes another text for it; stderr says why.
    """
    if value is None:
        note(
            "It succeeded, and its output is redacted (`redact` of its task): a program reads it by Client.result."
        )
        return
    if as_json:
        write_json(msgspec.json.format(bytes(value), indent=-1))
        return
    if bytes(value).lstrip()[:1] == b'"':
        write(visible(msgspec.json.decode(value, type=str)))
    else:
        write_json(_PACKED.sub(_shortened, msgspec.json.format(bytes(value), indent=2)))


def _shortened(packed: re.Match[bytes]) -> bytes:
    """Shorten an array or a frame to its beginning, since a person cannot read all of it."""
    data = packed["data"]
    return packed["name"] + data[:_SHOWN] + f"… ({len(data)} characters)".encode()

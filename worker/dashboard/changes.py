"""Changes of a run, from the results channel: in full, or of a flood the least a page needs of each action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from reconciler.api.action import RunId
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.cli.documents import counts_document
from reconciler.client import Client
from reconciler.core.children import ROOT
from reconciler.core.documents import Document
from reconciler.stores.base import ChannelEntry
from worker.dashboard.passes import events_of
from worker.dashboard.rows import error_text, row

_PART: Final = 1000
_PARTS: Final = 10
"""Reads of the channel for one piece: an action that changed three times since the last one is told once."""
FEW: Final = 60
"""Actions a piece tells of in full, whatever it is asked: so many are seen at a time."""
NAMED: Final = 500
"""Actions that are asked for by name at a time."""


class Brief(msgspec.Struct, array_like=True):
    """The least that is told of a change, without reading the record.

    Attributes:
        name: of the action.
        phase: it is in.
        attempt: number of its attempt.
        at: when it entered the phase, ms since the epoch.
        began: when it began to run, as far as this piece knows; 0 = before, or not yet.
        ended: whether it has ended.
        error: code and message of its error.
    """

    name: str
    phase: str
    attempt: int
    at: int
    began: int = 0
    ended: bool = False
    error: str = ""


def changes_document(client: Client, run: RunId, cursor: str, *, brief: bool = False) -> Document:
    """Write the actions of a run that changed since a place in the results channel, and the place to go on.

    Args:
        client: of the installation.
        run: whose changes are read.
        cursor: the place.
        brief: whether many actions are told in short, which costs a tenth; the root is always told in full.
    """
    entries, more = _news(client, run, cursor)
    changed: dict[str, Brief] = {}
    for event in (entry.event for entry in entries if entry.event.id.run_id == run):
        changed[event.id.action] = _brief(event, changed.get(event.id.action))
    short = brief and len(changed) > FEW
    names = [name for name in changed if name == ROOT or not short]
    records = client.store.get_many([run.action(name) for name in names]) if names else []
    counts = client.store.counts(run)
    return {
        "actions": [
            row(record, events_of(client, record) if len(records) <= FEW + 1 else ())
            for record in records
            if record is not None
        ],
        "brief": [change for name, change in changed.items() if name != ROOT] if short else [],
        "phases": counts_document(counts) if counts else {},
        "gone": counts is None,
        "cursor": entries[-1].cursor if entries else cursor,
        "more": more,
        "now": client.store.now(),
    }


def named_document(client: Client, run: RunId, names: Sequence[str], incarnation: str = "") -> Document:
    """Write those live actions of a run in full that are asked for by name, `NAMED` at most; of no other incarnation."""
    records = client.store.get_many([run.action(name) for name in names[:NAMED]])
    found = [one for one in records if one and incarnation in {"", one.metadata.incarnation}]
    return {
        "actions": [row(record, events_of(client, record)) for record in found],
        "next": "",
        "now": client.store.now(),
    }


def _news(client: Client, run: RunId, cursor: str) -> tuple[list[ChannelEntry], bool]:
    """Read the channel from a place on; tell whether there may be more."""
    shard, found = client.store.shard_of(run), list[ChannelEntry]()
    for _ in range(_PARTS):
        part = client.store.channel(shard, found[-1].cursor if found else cursor, _PART)
        found += part
        if len(part) < _PART:
            return found, False
    return found, True


def _brief(event: ActionEvent, before: Brief | None) -> Brief:
    began = before.began if before is not None and before.attempt == event.attempt else 0
    return Brief(
        event.id.action,
        str(event.phase),
        event.attempt,
        event.updated_time,
        event.updated_time if event.phase is ActionPhase.RUNNING else began,
        event.final,
        error_text(event.error_info),
    )

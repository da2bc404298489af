"""Packs: small outputs of siblings that one draw ran share an object, when the installation wants it.

A pack lies in the folder of the parent, below the incarnation of the run: it goes with the parent, whose record no child
outlives. Its name is drawn anew, so it meets no other, and it is written before the commit that points into it: what a
refused commit leaves goes with the parent, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import uuid4

from reconciler.api.template import template_or_none
from reconciler.core.layout import Part, packs_folder, run_folder
from reconciler.wiring import Engine
from worker.attempts.attempt import Attempt

LARGEST = 192 * 1024
"""Bytes after which a pack is full: larger objects are not created the quick way."""


class Parcel(NamedTuple):
    """An object to write, and the attempts whose outputs it holds, each with the URI of its own."""

    uri: str
    data: bytes
    parts: tuple[tuple[Attempt, str], ...]


def parcels_of(engine: Engine, ended: Sequence[Attempt]) -> list[Parcel]:
    """Put the outputs of attempts into objects: an object each, or small ones of siblings into one."""
    parcels, packs = list[Parcel](), dict[str, list[tuple[Attempt, str, bytes]]]()
    for attempt in ended:
        found = attempt.object()
        if found is not None:
            packs.setdefault(_folder_of(engine, attempt, len(found[1])), []).append((attempt, *found))
    for folder, members in packs.items():
        for some in _parted(members) if folder else ([member] for member in members):
            parcels.append(_parcel(folder, some))
    return parcels


def _folder_of(engine: Engine, attempt: Attempt, size: int) -> str:
    """Name the folder of the pack that outputs of this size may be in; empty: they get an object of their own.

    Outputs of cached tasks are pointed to by others, those in a folder the submitter chose are looked for there, and those
    with a log beside them lie where the log is looked for.
    """
    record, most = attempt.record, engine.settings.pack_outputs
    parent, incarnation = record.spec.parent_action_name, record.metadata.incarnation
    if not 0 < size <= most or not parent or not incarnation or attempt.has_text():
        return ""
    base = engine.blobs.uri(run_folder(record.id.run_id, incarnation))
    template = template_or_none(record)
    if record.spec.run_output_base != base or template is None:
        return ""
    is_cached = template.metadata is not None and template.metadata.discoverable
    return "" if is_cached else packs_folder(base, parent)


def _parted(members: list[tuple[Attempt, str, bytes]]) -> list[list[tuple[Attempt, str, bytes]]]:
    parts, size = [list[tuple[Attempt, str, bytes]]()], 0
    for member in members:
        if parts[-1] and size + len(member[2]) > LARGEST:
            parts.append([])
            size = 0
        parts[-1].append(member)
        size += len(member[2])
    return parts


def _parcel(folder: str, members: Sequence[tuple[Attempt, str, bytes]]) -> Parcel:
    if len(members) == 1:
        attempt, uri, data = members[0]
        return Parcel(uri, data, ((attempt, uri),))
    pack, first, parts = f"{folder}/{uuid4().hex}", 0, list[tuple[Attempt, str]]()
    for attempt, _, data in members:
        parts.append((attempt, str(Part(pack, first, len(data)))))
        first += len(data)
    return Parcel(pack, b"".join(data for *_, data in members), tuple(parts))

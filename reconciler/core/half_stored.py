"""Tells of a submission that is stored in part: what is missing, until when, and by what call it goes on."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from reconciler.api.action import TaskAction
from reconciler.core.children import GROUP
from reconciler.core.counted import counted

SUBMIT_WINDOW = 120_000
"""How long a submitter has to store all members of a group before the group fails, ms."""


class _Announced(msgspec.Struct):
    """The part of a group's inputs that tells how many members were announced, and whether their submitter comes again."""

    expected: int = 0
    called_again: bool = False


_announced = msgspec.json.Decoder(_Announced)


class HalfStored(msgspec.Struct, frozen=True):
    """A group whose members are not all stored yet.

    Attributes:
        stored, expected: how many of its members are, and how many were announced.
        until: when it fails unless all are stored, ms since the epoch; 0 = never: its submitter is called again.
    """

    stored: int
    expected: int
    until: int


def half_stored(record: TaskAction) -> HalfStored | None:
    """Tell how many members of a group are missing, also of an ended one; None when none is, or when it is no group."""
    if record.spec.task_type != GROUP or record.spec.inputs is None:
        return None
    try:
        announced = _announced.decode(record.spec.inputs)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None  # its plugin says so
    stored = record.children.total
    if stored >= announced.expected:
        return None
    until = 0 if announced.called_again else record.metadata.creation_timestamp + SUBMIT_WINDOW
    return HalfStored(stored, announced.expected, until)


def is_open(record: TaskAction) -> bool:
    """Tell whether members of a group are missing that may still come."""
    return not record.phase.is_terminal() and half_stored(record) is not None


def goes_on_by(record: TaskAction) -> str:
    """Name the call that stores the rest of the run of a record, whoever made it and wherever that one stopped."""
    lineage, run = record.metadata.lineage, record.id.run_id
    if lineage is None:
        return "the same submission, under the same run name or idempotency key,"
    options = " and the same options" if lineage.verb == "fork" else ""
    source = lineage.source.rpartition("@")[0]
    return f"`reconciler {lineage.verb} {source} --name {run.run}`{options}"


def goes_anew_by(record: TaskAction) -> str:
    """Name the call that makes the run of a record again where its rest can be stored no more, and what must differ."""
    lineage = record.metadata.lineage
    if lineage is None:
        return "the same submission under another run name or idempotency key"
    options = " with the same options" if lineage.verb == "fork" else ""
    source = lineage.source.rpartition("@")[0]
    return f"`reconciler {lineage.verb} {source}`{options} under another name"


def is_rootless(records: Iterable[TaskAction]) -> bool:
    """Tell whether the root of a stored run is still missing: what is taken over is stored before whoever waits for it."""
    parents = [bool(record.spec.parent_action_name) for record in records]
    return bool(parents) and all(parents)


def half_stored_text(record: TaskAction, count: int) -> str:
    """Say of a run that is stored in part how much is, and how it goes on; a sentence without its full stop.

    Args:
        record: one of its actions.
        count: how many of them are stored.
    """
    run = record.id.run_id
    if record.archived:
        return (
            f"only {counted(count, 'action was', 'actions were')} ever stored of the run {run}, as its submitter "
            f"stopped half way; {goes_on_by(record)} makes it anew"
        )
    return (
        f"the run {run} is stored in part: {counted(count, 'action is', 'actions are')}, and whoever submits it has "
        "not stored the rest. "
        f"If he has died, {goes_on_by(record)} stores it; what is there is forgotten after its retention"
    )

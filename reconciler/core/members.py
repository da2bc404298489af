"""Make the members of a group that starts them itself, some at a time (R90)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from reconciler.api.action import ActionSpec, Metadata, TaskAction, record_name
from reconciler.api.errors import InvalidArguments, InvalidSpec
from reconciler.api.reading import read_json
from reconciler.api.schedule import NOW, Schedule
from reconciler.core.children import member_name
from reconciler.core.inheritance import inherited, with_inputs_hash

_Item = TypeVar("_Item")
ITEMS = "items"
"""The inputs of all members, in the inputs of their group."""


class Members(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The inputs of such a group: one object, whatever their number.

    Attributes:
        spec: what each member does, without inputs.
        items: inputs of each.
        plan: when and in which order each runs.
        fair_keys: of each; empty = that of the plan.
    """

    spec: ActionSpec
    items: Sequence[msgspec.Raw]
    plan: Schedule = NOW
    fair_keys: Sequence[str] = ()


def write_items(items: Sequence[_Item], write: Callable[[_Item], bytes]) -> list[bytes]:
    """Write the inputs of each call of a map.

    Raises:
        InvalidArguments: those of one do not fit; it says which.
    """
    written: list[bytes] = []
    try:
        for item in items:
            written.append(write(item))  # noqa: PERF401  # its length says which item does not fit
    except InvalidArguments as error:
        raise InvalidArguments(
            f"item {len(written)} of the map, counted from 0, must fit. {error}"
        ) from error.__cause__
    return written


def encode_members(
    spec: ActionSpec, items: Sequence[bytes], plan: Schedule = NOW, fair_keys: Sequence[str] = ()
) -> bytes:
    """Write what `read_members` reads.

    Raises:
        InvalidSpec: inputs are no JSON.
    """
    members = Members(
        spec=msgspec.structs.replace(spec, inputs=None),
        items=[msgspec.Raw(item) for item in items],
        plan=plan,
        fair_keys=fair_keys,
    )
    document = msgspec.json.encode(members)
    try:
        fits = len(read_members(document).items) == len(items)
    except msgspec.DecodeError:
        fits = False
    if not fits:
        raise InvalidSpec("with concurrency the inputs of each member must be one JSON document")
    return document


def read_members(document: bytes) -> Members:
    """Read the inputs of such a group.

    Raises:
        msgspec.DecodeError: they are none.
    """
    return read_json(document, Members)


def member_of(group: TaskAction, members: Members, index: int) -> TaskAction:
    """Make a member for submission: below its group, with everything that a child inherits.

    Its times count from the submission of the group, and its priority is what the group has by now.
    """
    plan, run = msgspec.structs.replace(members.plan, priority=None), group.id
    if members.fair_keys:
        plan = msgspec.structs.replace(plan, fair_key=members.fair_keys[index])
    spec = with_inputs_hash(
        msgspec.structs.replace(
            members.spec,
            inputs=bytes(members.items[index]),
            project=run.project,
            domain=run.domain,
            run_name=run.run,
            action_name=member_name(run.action, index),
            parent_action_name=run.action,
            run_output_base=group.spec.run_output_base,
        )
    )
    identity, began = run.run_id.action(spec.action_name), group.metadata.creation_timestamp
    metadata = Metadata(
        namespace=group.metadata.namespace,
        name=record_name(identity, spec),
        fair_key=plan.fair_key,
        not_before=_moment(plan.not_before, began),
        expires_at=_moment(plan.expires_at, began),
    )
    return inherited(TaskAction(identity, spec, metadata=metadata), group, plan)


def _moment(at: int, began: int) -> int:
    return began - at if at < 0 else at

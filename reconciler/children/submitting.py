"""Turns a submission inside a function into requests: a child of the action, or with `detached` a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from reconciler.api.action import ActionSpec
from reconciler.api.errors import InvalidSpec
from reconciler.api.schedule import Schedule
from reconciler.children import requests as ask
from reconciler.children.handle import ChildRun
from reconciler.children.parent import Parent
from reconciler.core.children import digest_of_call

_MEMBERS = 500
"""Members of one request …"""
_BYTES = 8 * 1024 * 1024
"""… with so many bytes of inputs at most."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a submission beside its spec.

    Attributes:
        plan: when, and in which order.
        labels: attached to the record.
        key: names the submission of a detached run.
        detached: a run of its own.
    """

    plan: Schedule
    labels: dict[str, str] = {}
    key: str = ""
    detached: bool = False


def start(
    parent: Parent, spec: ActionSpec, options: Options, decode: Callable[[bytes], Any]
) -> ChildRun[Any]:
    """Start one action.

    Raises:
        InvalidSpec: a child was given a name of its own.
    """
    _check(spec.run_name, options)
    digest = digest_of_call(spec.task_type.encode(), spec.short_name.encode(), spec.inputs or b"")
    number = parent.post(
        ask.Start(
            number=parent.number(),
            spec=spec,
            asked=parent.asked(digest),
            plan=options.plan,
            labels=options.labels,
            key=options.key,
            detached=options.detached,
        )
    )
    if not options.detached:
        parent.started(number)
    return ChildRun(parent, number, decode)


class Group(msgspec.Struct, frozen=True):
    """The options of a map beside its specs.

    Attributes:
        stem: what its name begins with.
        fair_keys: of each member; empty: that of the plan.
        keep_failures: it succeeds even when members do not.
        options: of each member.
        window: how many members may be open at a time; 0 = all.
    """

    stem: str
    fair_keys: Sequence[str]
    keep_failures: bool
    options: Options
    window: int = 0


def start_many(
    parent: Parent, specs: Sequence[ActionSpec], group: Group, decode: Callable[[bytes], Any]
) -> ChildRun[list[Any]]:
    """Start a group whose members are the specs.

    Raises:
        InvalidSpec: it was given a name of its own.
    """
    plan = group.options.plan
    _check("", group.options)
    if not isinstance(group.keep_failures, bool):
        raise InvalidSpec(f"keep_failures must be True or False, got {group.keep_failures!r:.100}")
    digest = digest_of_call(group.stem.encode(), *(spec.inputs or b"" for spec in specs))
    number = parent.post(
        ask.StartGroup(
            number=parent.number(),
            stem=group.stem,
            digest=digest,
            asked=parent.asked(digest),
            total=len(specs),
            keep_failures=group.keep_failures,
            plan=Schedule(priority=plan.priority),
        )
    )
    parent.started(number)
    for first, part in _parts(specs):
        parent.post(
            ask.Members(
                number=parent.number(),
                group=number,
                first=first,
                spec=msgspec.structs.replace(part[0], inputs=b""),
                inputs=[spec.inputs or b"" for spec in part],
                plan=plan,
                fair_keys=list(group.fair_keys[first : first + len(part)]),
            )
        )
    return ChildRun(parent, number, decode, members=len(specs))


def _parts(specs: Sequence[ActionSpec]) -> list[tuple[int, list[ActionSpec]]]:
    parts: list[tuple[int, list[ActionSpec]]] = []
    size = 0
    for index, spec in enumerate(specs):
        length = len(spec.inputs or b"")
        if not parts or len(parts[-1][1]) >= _MEMBERS or size + length > _BYTES:
            parts.append((index, []))
            size = 0
        parts[-1][1].append(spec)
        size += length
    return parts


def _check(run: str, options: Options) -> None:
    if not isinstance(options.detached, bool):
        raise InvalidSpec(f"detached must be True or False, got {options.detached!r:.100}")
    if (run or options.key) and not options.detached:
        raise InvalidSpec(
            "a task started inside a task is a child of its run, under a name of ours: leave run and idempotency_key out, "
            "or start a run of its own with detached=True"
        )

"""Turns a submission inside a function into requests: a child of the action, or with `detached` a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from reconciler.api.action import ActionSpec
from reconciler.api.errors import InvalidSpec
from reconciler.api.schedule import Schedule, check_concurrency
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


class Calls(msgspec.Struct, frozen=True):
    """The calls of a map.

    Attributes:
        spec: of each call, without inputs.
        inputs: of each call.
        fair_keys: of each call; empty: that of the plan.
    """

    spec: ActionSpec
    inputs: list[bytes]
    fair_keys: list[str] = []

    def specs(self) -> list[ActionSpec]:
        """Make one spec for each call."""
        return [msgspec.structs.replace(self.spec, inputs=one) for one in self.inputs]


class Group(msgspec.Struct, frozen=True):
    """The options of a map beside its calls.

    Attributes:
        stem: what its name begins with.
        keep_failures: it succeeds even when members do not.
        options: of each member.
        return_exceptions: its result holds errors instead of raising them.
        concurrency: most members that are open at a time; None = all.
    """

    stem: str
    keep_failures: bool
    options: Options
    return_exceptions: bool = False
    concurrency: int | None = None


def start_many(
    parent: Parent, calls: Calls, group: Group, decode: Callable[[bytes], Any]
) -> ChildRun[Sequence[Any]]:
    """Start a group whose members are the calls.

    Raises:
        InvalidSpec: it was given a name of its own, or concurrency is no such number.
    """
    _check("", group.options)
    if not isinstance(group.keep_failures, bool):
        raise InvalidSpec(f"keep_failures must be True or False, got {group.keep_failures!r:.100}")
    if group.concurrency is None:
        number = _start_group(parent, calls, group)
    else:
        number = _start_window(parent, calls, group, check_concurrency(group.concurrency))
    parent.started(number)
    return ChildRun(
        parent,
        number,
        decode,
        members=len(calls.inputs),
        lazy=group.concurrency is not None,
        return_exceptions=group.return_exceptions,
    )


def _start_group(parent: Parent, calls: Calls, group: Group) -> int:
    """Start a group, and let its members be stored."""
    plan = group.options.plan
    digest = digest_of_call(group.stem.encode(), *calls.inputs)
    number = parent.post(
        ask.StartGroup(
            number=parent.number(),
            stem=group.stem,
            digest=digest,
            asked=parent.asked(digest),
            total=len(calls.inputs),
            keep_failures=group.keep_failures,
            plan=Schedule(priority=plan.priority),
            spec=calls.spec,
            members=plan,
        )
    )
    for first, inputs in _parts(calls.inputs):
        parent.post(
            ask.Members(
                number=parent.number(),
                group=number,
                first=first,
                spec=calls.spec,
                inputs=inputs,
                plan=plan,
                fair_keys=calls.fair_keys[first : first + len(inputs)],
            )
        )
    return number


def _start_window(parent: Parent, calls: Calls, group: Group, concurrency: int) -> int:
    """Start a group that starts its members itself; its items are sent unless an earlier pass has sent them."""
    digest = digest_of_call(b"window", group.stem.encode(), *calls.inputs)
    asked = parent.asked(digest)
    found = parent.post(ask.FindGroup(number=parent.number(), stem=group.stem, digest=digest, asked=asked))
    there = parent.answer(found)
    if not (isinstance(there, ask.Phase) and there.phase):
        for first, inputs in _parts(calls.inputs):
            keys = calls.fair_keys[first : first + len(inputs)]
            parent.post(
                ask.Items(number=parent.number(), digest=digest, asked=asked, inputs=inputs, fair_keys=keys)
            )
    return parent.post(
        ask.StartGroup(
            number=parent.number(),
            stem=group.stem,
            digest=digest,
            asked=asked,
            total=len(calls.inputs),
            keep_failures=group.keep_failures,
            plan=Schedule(priority=group.options.plan.priority),
            concurrency=concurrency,
            spec=calls.spec,
            members=group.options.plan,
        )
    )


def _parts(inputs: Sequence[bytes]) -> list[tuple[int, list[bytes]]]:
    parts: list[tuple[int, list[bytes]]] = []
    size = 0
    for index, one in enumerate(inputs):
        if not parts or len(parts[-1][1]) >= _MEMBERS or size + len(one) > _BYTES:
            parts.append((index, []))
            size = 0
        parts[-1][1].append(one)
        size += len(one)
    return parts


def _check(run: str, options: Options) -> None:
    if not isinstance(options.detached, bool):
        raise InvalidSpec(f"detached must be True or False, got {options.detached!r:.100}")
    if (run or options.key) and not options.detached:
        raise InvalidSpec(
            "a task started inside a task is a child of its run, under a name of ours: leave run and idempotency_key out, "
            "or start a run of its own with detached=True"
        )

"""Decide which actions of an ended run are taken over by a run that is made of it, and which run again.

What a function starts itself is left to it: run again, it starts it again, and finds by name what was taken over. What
others put there, the members of a group above all, is put there again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec

from reconciler.api.action import TaskAction
from reconciler.api.errors import NothingToRecover, SourceUnusable
from reconciler.core.counted import counted
from reconciler.core.half_stored import goes_anew_by, half_stored, half_stored_text, is_rootless

Records = Mapping[str, TaskAction]
"""Actions of a run by name."""


class Plan(msgspec.Struct, frozen=True):
    """The plan for a run made of another one: what becomes of each action.

    Attributes:
        reused: their outputs are taken over.
        again: they run again, parents before their children.
    """

    reused: tuple[TaskAction, ...]
    again: tuple[TaskAction, ...]


def check_source(name: object, records: Records) -> None:
    """Refuse a run that has not ended, or of which a part is no longer stored.

    Raises:
        SourceUnusable: it is such a run.
    """
    alive = [record for record in records.values() if not record.phase.is_terminal()]
    if alive:
        raise SourceUnusable(
            f"the run {name} is alive: {len(alive)} of its {len(records)} actions have not ended, as {alive[0].id.action} "
            f"({alive[0].phase}). Wait for its end, or abort it with `reconciler abort {name} --reason WHY`"
        )
    if is_rootless(records.values()):
        raise SourceUnusable(half_stored_text(next(iter(records.values())), len(records)))
    if not is_whole(records):
        raise SourceUnusable(
            f"part of the run {name} is stored no more: its retention has passed. Submit it anew, and raise "
            "RECONCILER_RETENTION to have more time"
        )


def check_members(again: Sequence[TaskAction]) -> None:
    """Refuse when members of a group that runs again were never stored: it would wait for them for ever.

    Raises:
        SourceUnusable: some were not.
    """
    for record in again:
        half = half_stored(record)
        if half is not None:
            raise SourceUnusable(
                f"{half.expected - half.stored} of the {half.expected} members of {record.id} were never stored, as its "
                "submitter stopped half way, so nobody knows what they were asked for: make it anew by "
                f"{goes_anew_by(record)}"
            )


def is_whole(records: Records) -> bool:
    """Tell whether no record of the run is missing, as far as the others show."""
    present: dict[str, int] = {}
    for record in records.values():
        parent = record.spec.parent_action_name
        if parent:
            present[parent] = present.get(parent, 0) + 1
    if not present.keys() <= records.keys():
        return False
    return all(record.children.total in {0, present.get(name, 0)} for name, record in records.items())


def plan_rerun(records: Records, starts: Callable[[TaskAction], bool]) -> Plan:
    """Plan a run in which all actions of the source run again.

    Args:
        records: of the run.
        starts: whether an action starts its children itself.
    """
    return Plan((), tuple(_in_order(records, {name for name in records if _is_put(records, name, starts)})))


def plan_recover(
    records: Records,
    starts: Callable[[TaskAction], bool],
    changed: Collection[str] = (),
    *,
    fills: Callable[[TaskAction], bool] = lambda _: False,
) -> Plan:
    """Take over what succeeded, except what changed and what waits for something that runs again.

    Args:
        records: of the run.
        starts: whether an action starts its children itself. One that succeeded although a child did not has dealt with it.
        changed: actions that run again although they succeeded.
        fills: whether an action starts its children itself, and ends as they do.
    """
    forced = {name for start in changed for name in (start, *_above(records, start))}
    open_ends = {name for name, record in records.items() if not record.phase.has_outputs()} | forced
    for name in tuple(open_ends):
        for parent in _above(records, name):
            if starts(records[parent]):
                break
            open_ends.add(parent)
    reused = tuple(record for name, record in records.items() if name not in open_ends)
    again = {name for name in open_ends if _is_put(records, name, lambda one: starts(one) or fills(one))}
    return Plan(reused, tuple(_in_order(records, again)))


def nothing_to_recover(name: object, records: Records) -> NothingToRecover:
    """Say why a recover of a run would run nothing again."""
    failed = [record for record in records.values() if not record.phase.has_outputs()]
    text = (
        f"{'all ' if len(records) > 1 else ''}{counted(len(records), 'action')} of the run {name} succeeded"
    )
    if failed:
        text = (
            f"{len(failed)} of the {len(records)} actions of the run {name} did not succeed, as {failed[0].id.action}, but "
            "what started them went on without, and succeeded"
        )
    return NothingToRecover(
        f"{text}, so nothing is to be recovered: `reconciler rerun` runs all again, `reconciler fork` some of them"
    )


def is_started(records: Records, name: str, starts: Callable[[TaskAction], bool]) -> bool:
    """Tell whether this action, or one above it, is started by a function."""
    return not _is_put(records, name, starts)


def _is_put(records: Records, name: str, starts: Callable[[TaskAction], bool]) -> bool:
    return not any(starts(records[parent]) for parent in _above(records, name))


def _above(records: Records, name: str) -> Iterator[str]:
    """Name all ancestors, nearest first."""
    while parent := records[name].spec.parent_action_name:
        yield parent
        name = parent


def _in_order(records: Records, names: Collection[str]) -> list[TaskAction]:
    depth = {name: sum(1 for _ in _above(records, name)) for name in names}
    return [
        records[name]
        for name in sorted((name for name in records if name in depth), key=lambda name: depth[name])
    ]

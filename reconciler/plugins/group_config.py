"""Define what the root of a map records about its members."""

from __future__ import annotations

import msgspec

from reconciler.api.action import ActionSpec
from reconciler.api.reading import read_json
from reconciler.api.template import shared_template
from reconciler.core.children import GROUP, GROUPS, WINDOW

__all__ = ["GROUP", "GROUPS", "WINDOW", "GroupConfig", "config_of"]


class GroupConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The inputs of a group; of one that starts its members itself `custom` of its template.

    Attributes:
        expected: number of children that were announced.
        keep_failures: succeed even when children did not.
        called_again: its submitter is the function above it, which is called again when its worker is lost: it waits for
            its children as long as that one lives.
        concurrency: most members that are open at a time; 0 = all.
    """

    expected: int
    keep_failures: bool = False
    called_again: bool = False
    concurrency: int = 0


def config_of(spec: ActionSpec) -> GroupConfig | None:
    """Read what a group says of its members; None for an action that is no group, or whose `custom` is unreadable."""
    try:
        if spec.task_type == WINDOW:
            found = msgspec.convert(shared_template(spec.task_template).custom, GroupConfig)
        elif spec.task_type == GROUP and spec.inputs is not None:
            found = read_json(spec.inputs, GroupConfig)
        else:
            return None
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    return found if found.expected >= 0 else None

"""Say where a run came from: the run it was made of, and which runs' objects its records point to."""

from __future__ import annotations

import enum

import msgspec


class Verb(enum.StrEnum):
    """The way a run was made of another one."""

    RERUN = "rerun"
    """All again."""
    RECOVER = "recover"
    """What succeeded is taken over, the rest runs again."""
    FORK = "fork"
    """The same as recover, but some actions have other inputs or another spec, or run again although they succeeded."""


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The origin of an action: the run it was made of. It repeats the action of the same name there.

    Attributes:
        verb: `rerun`, `recover` or `fork`.
        source: the run, `project/domain/run@incarnation`.
        objects: runs, written like that, in whose folders inputs or outputs lie that this record points to.
        changed: whether a fork gave it another spec than the action it repeats has.
    """

    verb: str
    source: str
    objects: tuple[str, ...] = ()
    changed: bool = False

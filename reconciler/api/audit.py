"""Say who asked for something, and through which door (client, command, page, token)."""

from __future__ import annotations

import enum

import msgspec


class Door(enum.StrEnum):
    """The way by which somebody reached the installation."""

    CLIENT = "client"
    """A program, by `Client`."""
    CLI = "cli"
    """A person or a script, by the command."""
    FLOWER = "flower"
    """A person, by a page of Flower."""
    TOKEN = "token"  # noqa: S105  # a door, no secret
    """Whoever was given the callback token of a condition."""


class Who(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Somebody who asked: `user@host` of the process, or the name given, and the `Door` used."""

    actor: str = ""
    door: str = ""

    def __str__(self) -> str:
        return f"{self.actor or 'unknown'} ({self.door})" if self.door else self.actor or "unknown"


class Ruling(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A decision somebody made about a queue or an action.

    Attributes:
        what: what, as `pause` or `limit 100`.
        actor, door: of whom, as in `Who`.
        at: when, ms since the epoch.
    """

    what: str
    actor: str = ""
    door: str = ""
    at: int = 0


def ruling(what: str, by: Who | None, at: int = 0) -> Ruling | None:
    """Note who decided something; None when nobody is named."""
    return None if by is None else Ruling(what, by.actor, by.door, at)

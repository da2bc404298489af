"""Resources with a quota: how they are named, and which units an action has asked for (R70)."""

from __future__ import annotations

import re

import msgspec

from reconciler.api.errors import InvalidSpec
from reconciler.api.tokens import AllocationToken

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]*[A-Za-z0-9])?", re.ASCII)
_LONGEST = 128


class QuotaLease(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """Units of one resource that an action holds, or waits for.

    Attributes:
        resource: name of the resource, `gpu` or `gpu:a100`.
        token: what the manager knows the lease by; one for each launch.
        units: how many.
        held: whether they were granted; if not, the action waits for them.
        since: when it began to stand in line, ms since the epoch, UTC; 0 = it does not.
        missing_since: since when no quota is registered for the resource, ms since the epoch, UTC; 0 = one is.
    """

    resource: str
    token: AllocationToken
    units: int = 1
    held: bool = False
    since: int = 0
    missing_since: int = 0


def check_resource(name: str) -> str:
    """Return the name of a resource when it keeps the rule; parts may be joined with `:`.

    Raises:
        InvalidSpec: it does not.
    """
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise InvalidSpec(
            f"resource {name[:_LONGEST]!r} is not allowed; allowed: 1 to {_LONGEST} letters, digits, '.', '_', '-' "
            "and ':', first and last a letter or digit"
        )
    return name


def read_units(text: str) -> tuple[str, int]:
    """Read `gpu` (one unit) or `gpu=4`.

    Raises:
        InvalidSpec: not of that form.
    """
    name, equals, number = text.partition("=")
    if equals and not (number.isascii() and number.isdigit() and len(number) < 10):
        raise InvalidSpec(f"{text!r} is no number of units; write it as in gpu=4")
    return check_resource(name), int(number) if equals else 1

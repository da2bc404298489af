"""The one rule for names, applied at every door (client, CLI, worker, settings).

A name is 1 to its limit of the characters `A-Z a-z 0-9 . _ -` and starts and ends with a letter or a digit.
So no name can hold a separator of a Redis key, a path or a pattern (`:` `/` `{` `}` `*` and control characters),
nor be `.` or `..`, and equal names look equal (ASCII only).
"""

from __future__ import annotations

import re

from reconciler.api.errors import InvalidName

RULE = "letters, digits, '.', '_' and '-', first and last a letter or digit"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)

LIMITS = {"project": 63, "domain": 63, "run": 30, "action": 30, "parent action": 30}
"""Longest name of each part of an identity, in characters (R10)."""


def check_name(what: str, name: object, limit: int | None = None) -> str:
    """Return `name` when it keeps the rule.

    Args:
        what: what is named; also selects the limit when none is given.
        name: the candidate.
        limit: most characters allowed.

    Raises:
        InvalidName: says which rule is broken and what is allowed.
    """
    most = LIMITS.get(what, 63) if limit is None else limit
    if type(name) is str and len(name) <= most and _NAME.fullmatch(name):
        return name
    if not isinstance(name, str):
        raise InvalidName(f"{what} must be a string, got {type(name).__name__}")
    if not name:
        raise InvalidName(f"{what} must not be empty; allowed: 1 to {most} of {RULE}")
    if len(name) > most:
        raise InvalidName(f"{what} has {len(name)} characters, at most {most} are allowed: {name[:40]!r}…")
    if not _NAME.fullmatch(name):
        raise InvalidName(f"{what} {name!r} is not allowed; allowed: 1 to {most} of {RULE}")
    return name


def check_incarnation(text: str) -> str:
    """Check the incarnation of a run, as it is written in addresses and commands, and return it.

    Raises:
        InvalidName: nothing was ever called so; it says what is allowed.
    """
    check_name("incarnation", text.replace("~", "-"), 60)
    return text

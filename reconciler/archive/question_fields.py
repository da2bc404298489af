"""Check what a search for runs asks for, in the same way at every door: client, commands, pages and their API.

What no run can have is refused: it would find nothing, in silence. Each function says in a sentence what is wrong, and what
to write; an empty text means that nothing is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import date

from reconciler.api.errors import InvalidName
from reconciler.api.names import LIMITS, check_name
from reconciler.api.phase import ActionPhase
from reconciler.core.validation import LABEL, RESERVED_LABELS

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_IN_NAMES = re.compile(r"[A-Za-z0-9._-]*", re.ASCII)
PHASES = tuple(str(phase) for phase in ActionPhase if phase)
"""The phases an action can be in."""
ENDED = tuple(str(phase) for phase in ActionPhase if phase.is_terminal())
"""Those in which one ends: no other is in the archive."""


def not_empty(field: str, *, needed: bool = False) -> str:
    """Say that a field is empty, and what to do."""
    return (
        f"{field} must not be empty: give it a value{'' if needed else ', or leave it out, which means all'}"
    )


def text_problem(field: str, value: object, *, needed: bool = False) -> str:
    """Check that a field is a text, and not an empty one: of a variable nobody has set, it would choose all runs."""
    if not isinstance(value, str):
        return f"{field} must be a text, got {type(value).__name__}"
    return "" if value else not_empty(field, needed=needed)


def day_problem(field: str, text: str) -> str:
    """Check a day: days are compared as texts, so each has one form."""
    with suppress(ValueError):
        if _DAY.fullmatch(text):
            date.fromisoformat(text)
            return ""
    return f"{field} {text!r:.80} is no day: write YYYY-MM-DD, as 2026-11-28"


def days_problem(since: str, until: str) -> str:
    """Check that a range of days has one."""
    return (
        f"since {since} comes after until {until}: give an earlier one, or a later one"
        if since > until
        else ""
    )


def place_problem(field: str, name: str) -> str:
    """Check the whole name of a project or a domain."""
    try:
        check_name(field, name)
    except InvalidName as error:
        return str(error)
    return ""


def name_problem(text: str, *, begins: bool) -> str:
    """Check a part of the name of a run.

    Args:
        text: the part.
        begins: whether the name begins with it.
    """
    fits = _IN_NAMES.fullmatch(text) and len(text) <= LIMITS["run"] and not (begins and text[:1] in "._-")
    if not text or fits:
        return ""
    where = "begins with" if begins else "has"
    return (
        f"no name of a run {where} {text!r:.80}: it has up to {LIMITS['run']} letters, digits, '.', '_' and '-', and "
        "no character stands for others"
    )


def phase_problem(phase: str, phases: Iterable[str] = PHASES) -> str:
    """Check a phase, among those that can be met."""
    known = tuple(phases)
    if phase in known:
        return ""
    if phase in PHASES:
        return f"no action is in the phase {phase} there: name one of {', '.join(known)}"
    return f"there is no phase {phase!r:.80}: name one of {', '.join(known)}"


def label_problem(name: object, value: object = "") -> str:
    """Check a label: those that follow from the identity and the end of an action are shown, but not searched."""
    if not isinstance(name, str) or not isinstance(value, str):
        return f"a label is a name and a value, both texts, got {name!r:.80} and {value!r:.80}"
    if name.startswith(RESERVED_LABELS):
        return (
            f"the label {name!r:.80} follows from the identity and the end of an action, and is not searched: ask by "
            "project, domain, name and phase"
        )
    return "" if LABEL.fullmatch(name) else f"no run has a label of the name {name!r:.80}"

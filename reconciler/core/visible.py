"""Make texts from outside safe to show: they cannot control the terminal."""

from __future__ import annotations

import re
import unicodedata

SUSPECT = re.compile(r"[^\x20-\x7e\n\t]")
"""What is looked at more closely."""
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Categories of Unicode: controls (also C1), direction and zero width, unassigned, private, halves, line separators."""
BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters and marks, to Unicode, that nobody can see."""
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


def visible(text: str, *, colours: bool = False) -> str:
    """Make a text harmless for a terminal: control characters are written out, not obeyed.

    Args:
        text: from outside; messages of actions are written by users' code.
        colours: whether sequences that only change the colour stay.
    """
    if not colours:
        return SUSPECT.sub(_escaped, text)
    parts, last = [], 0
    for colour in _COLOUR.finditer(text):
        parts += [SUSPECT.sub(_escaped, text[last : colour.start()]), colour[0]]
        last = colour.end()
    return "".join([*parts, SUSPECT.sub(_escaped, text[last:])])


def is_seen(character: str) -> bool:
    """Tell whether a character can be seen, and does not affect its neighbours."""
    return unicodedata.category(character) not in _UNSEEN and character not in BLANK


def _escaped(match: re.Match[str]) -> str:
    return match[0] if is_seen(match[0]) else match[0].encode("unicode_escape").decode()

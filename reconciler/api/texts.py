"""Check texts from outside: what JSON cannot carry, a record cannot hold."""

from __future__ import annotations

import re

from reconciler.api.errors import InvalidInput, InvalidSpec

UNREADABLE = "holds half a character (a surrogate), which no JSON can carry"
_HALF = re.compile("[\ud800-\udfff]")


def unreadable(text: str) -> bool:
    """Tell whether a text holds half a character."""
    return not text.isascii() and _HALF.search(text) is not None


def plain(value: object) -> object:
    """Return a text or a number of a class that a library derives from `str` or `int` as what it is: for encoders.

    Raises:
        NotImplementedError: it is neither.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    raise NotImplementedError(type(value).__name__)


def check_text(what: str, text: object, error: type[InvalidInput] = InvalidSpec) -> str:
    """Check that a text can be stored, and return it.

    Args:
        what: what it is, for the sentence.
        text: the candidate.
        error: what is raised.

    Raises:
        InvalidInput: it is no str, or holds half a character; of the kind asked for.
    """
    if not isinstance(text, str):
        raise error(f"{what} must be a str, got {type(text).__name__}")
    if unreadable(text):
        raise error(f"{what} {UNREADABLE}; give whole characters")
    return text

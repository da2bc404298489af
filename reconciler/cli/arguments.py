"""Arguments of a function as words of a shell: `key=cats/1.jpg width=640`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import click
import msgspec

_TEXT = frozenset({"str"})
_ANYTHING = "Any"


def document_of(values: Iterable[str], kinds: Mapping[str, str]) -> bytes:
    """Make the JSON object that `name=value` words mean.

    A value is text where the parameter takes text and is no JSON then, but for `null` where None is taken too. Elsewhere it
    is JSON, or, when it is none, text: a date needs no quotes.

    Args:
        values: the words.
        kinds: parameter → name of its type.

    Raises:
        UsageError: a word is not of this form, or names a parameter again.
    """
    found: dict[str, msgspec.Raw] = {}
    for word in values:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{word!r} is no argument: write NAME=VALUE.")
        if name in found:
            raise click.UsageError(f"{name} is given twice.")
        found[name] = _value(value, kinds.get(name, _ANYTHING))
    return msgspec.json.encode(found)


def _value(text: str, kind: str) -> msgspec.Raw:
    members = set(kind.split(" | "))
    as_text = msgspec.Raw(msgspec.json.encode(text))
    if members & _TEXT and not (text == "null" and "None" in members):
        return as_text
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return as_text
    return msgspec.Raw(text.encode())

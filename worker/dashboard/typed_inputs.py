"""Make of the inputs of an action what the form of a fork edits: a field for each, by its type, and all as one document."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from reconciler.api.action import TaskAction
from reconciler.api.template import template_or_none
from reconciler.core.redaction import hides, open_inputs, redaction_of


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of the form behind a button.

    Attributes:
        name: of the value in the request.
        label: what a person reads.
        type: one of str, text (of several lines), int (of 64 bits, as answers are), integer (of any size), float, number (as
            it was typed), bool, choice (a text, one of `choices`), json (a document, in a large field).
        value: what stands there before; of integer and number as a text, so that no browser rounds it.
        source: the address below the action from which the form reads that when it is opened; empty = nowhere.
        hint: what it holds, shown with it.
        choices: the texts among which one is chosen.
        parts: of a document, a field for each value in it: the form shows these, and sends those that were changed.
    """

    name: str
    label: str
    type: str = "str"
    value: bool | int | float | str | None = None
    source: str = ""
    hint: str = ""
    choices: tuple[str, ...] = ()
    parts: tuple[Field, ...] = ()


_MOST_PARTS: Final = 40
"""Most inputs of which each gets a field; a form with more is a document."""
_LINE: Final = 60
"""Longest text that is edited in one line."""
_INTEGER: Final = re.compile(rb"-?\d+")
_NUMBER: Final = re.compile(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_WRITTEN: Final = frozenset(
    {
        *("str", "datetime", "date", "time", "timedelta", "UUID", "Decimal", "Fraction", "Path"),
        *("PurePath", "IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "ZoneInfo"),
    }
)
"""Types that are a text in JSON, whatever their value."""
_CHOICE: Final = re.compile(r"Literal\[(.+)\]|\w+\((.+)\)")
"""A literal, or an enum with its values."""
_TEXT: Final = r"""(?:'[^'\\\x00-\x1f]*'|"[^"\\\x00-\x1f]*")"""
_TEXTS: Final = re.compile(rf"{_TEXT}(?:, {_TEXT})*")
"""Texts without an escape, as `repr` writes them."""
_values = msgspec.json.Decoder(dict[str, msgspec.Raw])


def inputs_field(record: TaskAction) -> Field:
    """Return the field for the inputs of an action; those that lie in S3 are read when the form is opened."""
    hint = ", ".join(f"{name}: {kind}" for name, kind in _types(record, record.spec.inputs).items())
    if record.spec.inputs is None:
        return Field("inputs", "Inputs", "json", source="editable", hint=hint)
    text, parts = editable(record, record.spec.inputs)
    return Field("inputs", "Inputs", "json", text, hint=hint, parts=parts)


def editable(record: TaskAction, inputs: bytes) -> tuple[str, tuple[Field, ...]]:
    """Write inputs for editing, as a document and one by one; numbers of any size are exact.

    Redacted values are left out of the document; their fields are empty, and stay as they are unless something is typed.
    """
    shown = open_inputs(redaction_of(record), inputs or b"{}")
    return msgspec.json.format(shown, indent=2).decode(errors="replace"), _parts(record, inputs)


def in_order(types: Mapping[str, str], inputs: bytes | None) -> dict[str, str]:
    """Order types as the inputs are, whose order is that of the declaration; a template keeps them by name."""
    names = _read(inputs)
    return {**{name: types[name] for name in names if name in types}, **types}


def _types(record: TaskAction, inputs: bytes | None) -> dict[str, str]:
    template = template_or_none(record)
    return in_order(template.interface.inputs if template and template.interface else {}, inputs)


def _read(inputs: bytes | None) -> dict[str, msgspec.Raw]:
    try:
        return _values.decode(inputs or b"{}")
    except msgspec.DecodeError:  # cut, or none of ours
        return {}


def _parts(record: TaskAction, inputs: bytes) -> tuple[Field, ...]:
    values, redaction = _read(inputs), redaction_of(record)
    types = {**dict.fromkeys(values, ""), **_types(record, inputs)}
    if len(types) > _MOST_PARTS:
        return ()
    return tuple(
        _hidden(name, kind) if hides(redaction, name) else _part(name, kind, bytes(values.get(name, b"")))
        for name, kind in types.items()
    )


def _part(name: str, kind: str, value: bytes) -> Field:
    """Make the field of one value: of its type if the value is one of it, else of JSON."""
    text = value.decode(errors="replace")
    if kind == "int" and _fits(_INTEGER, value):
        return Field(name, name, "integer", text, hint=kind)
    if kind == "float" and _fits(_NUMBER, value):
        return Field(name, name, "number", text, hint=kind)
    if kind == "bool" and text in {"", "true", "false"}:
        return Field(name, name, "bool", text == "true" if text else None, hint=kind)
    if kind in _WRITTEN and (not value or value.startswith(b'"')):
        plain = msgspec.json.decode(value or b'""', type=str)
        several = len(plain) > _LINE or not plain.isprintable()
        return Field(name, name, "text" if several else "str", plain, hint=kind)
    choices = _choices(kind)
    if value in {b"", *map(msgspec.json.encode, choices)} and choices:
        chosen = msgspec.json.decode(value, type=str) if value else None
        return Field(name, name, "choice", chosen, choices=choices)
    return Field(name, name, "json", _indented(value), hint=kind)


def _choices(kind: str) -> tuple[str, ...]:
    """Read the values of a type of few texts; none if it is another one."""
    found = _CHOICE.fullmatch(kind)
    inner = (found[1] or found[2]) if found else ""
    if not _TEXTS.fullmatch(
        inner
    ):  # what a submitter wrote as a type: only a list of plain texts is evaluated
        return ()
    values: tuple[str, ...] = ast.literal_eval(f"({inner},)")
    return values


def _fits(pattern: re.Pattern[bytes], value: bytes) -> bool:
    return not value or pattern.fullmatch(value) is not None


def _hidden(name: str, kind: str) -> Field:
    part = _part(name, kind, b"")
    hint = f"{kind}, redacted: left empty it stays as it is".lstrip(", ")
    return msgspec.structs.replace(part, value=None, hint=hint)


def _indented(value: bytes) -> str:
    return msgspec.json.format(value, indent=2).decode(errors="replace") if value else ""

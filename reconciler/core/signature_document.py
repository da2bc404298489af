"""One JSON object with typed fields: what a function's arguments, and its result, are written as."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import Any, Final

import msgspec

from reconciler.core.signature_types import describe

_NATIVE: Final = (
    bytes, bytearray, dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal,
)  # fmt: skip
"""Types a caller must pass as they are: without this msgspec takes a str for a datetime, or for bytes."""

_ENCODER: Final = msgspec.json.Encoder()
_SORTING_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
"""For values that hold sets, whose own order differs from process to process."""

_UNWRITABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What is raised for a value without JSON form; its own errors, as UnicodeEncodeError, are ValueErrors."""

_LOSSES: Final = (
    "JSON has no NaN and no infinity, knows only str keys, and gives back records, tuples, bytes and times "
    "only where the hint names them"
)


class Refused(Exception):  # never leaves the core: a signature turns it into a sentence
    """A value does not fit a field.

    Attributes:
        field: name of the field; empty when the document as a whole is at fault.
        type_name: what the field expects.
        problem: continues the sentence "the field …".
    """

    def __init__(self, field: str, type_name: str, problem: str) -> None:
        super().__init__(field, type_name, problem)
        self.field = field
        self.type_name = type_name
        self.problem = problem


class Field(msgspec.Struct, frozen=True):
    """One field: its hint, its name for people, its default (`msgspec.NODEFAULT`: none)."""

    name: str
    hint: Any
    type_name: str
    unordered: bool
    default: Any

    @classmethod
    def of(cls, name: str, hint: Any, default: object) -> Field:  # noqa: ANN401  # a type hint
        """Describe a field and check its default.

        Raises:
            TypeError: JSON cannot carry the hinted type (NameError: one of its own hints cannot be resolved).
            Refused: the default does not fit the hint.
        """
        hint = Any if hint is object else hint
        described = describe(hint)
        field = cls(name, hint, described.name, described.unordered, msgspec.NODEFAULT)
        if default is msgspec.NODEFAULT:
            return field
        return msgspec.structs.replace(field, default=field.checked(default))

    def encode(self, value: object) -> bytes:
        """The value as JSON, the same bytes in every process."""
        return (_SORTING_ENCODER if self.unordered else _ENCODER).encode(value)

    def checked(self, value: object) -> object:
        """The value as the hint has it (a tuple becomes the list that was asked for).

        Raises:
            Refused: it does not fit, or would not come back as it is.
        """
        given = type(value).__name__
        try:
            checked = msgspec.convert(value, self.hint, builtin_types=_NATIVE)
        except _UNWRITABLE as error:
            raise Refused(self.name, self.type_name, f"does not fit: {error}") from error
        try:
            data = self.encode(checked)
        except _UNWRITABLE as error:
            raise Refused(self.name, self.type_name, f"({given}) has no JSON form: {error}") from error
        try:
            lost = "" if _same(checked, msgspec.json.decode(data, type=self.hint)) else "another value"
        except _UNWRITABLE as error:
            lost = str(error)
        if lost:
            raise Refused(
                self.name, self.type_name, f"({given}) would not come back as it is ({lost}): {_LOSSES}"
            )
        return checked


class Document:
    """Writes and reads one kind of JSON object. Built once, used often."""

    __slots__ = ("_decoder", "_fields", "_struct", "_unordered")

    def __init__(self, name: str, fields: Sequence[Field]) -> None:
        self._fields = {field.name: field for field in fields}
        self._unordered = [field for field in fields if field.unordered]
        self._struct = msgspec.defstruct(
            name,
            [_declaration(field) for field in fields],
            kw_only=True,
            forbid_unknown_fields=True,
        )
        self._decoder = msgspec.json.Decoder(self._struct)

    def type_names(self) -> dict[str, str]:
        """Field name → type name, in order."""
        return {name: field.type_name for name, field in self._fields.items()}

    def write(self, values: Mapping[str, object]) -> bytes:
        """The object as JSON, fields in order, the same bytes in every process.

        Raises:
            Refused: names the first field whose value does not fit, or would not come back as it is.
        """
        try:
            checked = msgspec.convert(values, self._struct, builtin_types=_NATIVE)
            data = self._encode(checked)
            decoded = self._decoder.decode(data)
            if decoded == checked or self._survives(checked, decoded):
                return data
            cause = None
        except _UNWRITABLE as error:
            cause = error
        for name, field in self._fields.items():  # each alone, to name the one at fault
            if name in values:
                field.checked(values[name])
        raise Refused("", "", f"cannot be written as one JSON object: {cause}") from cause

    def read(self, data: bytes) -> dict[str, Any]:
        """Field name → value of the hinted type; a missing field gets its default.

        Raises:
            Refused: the bytes are not such an object.
        """
        try:
            return msgspec.structs.asdict(self._decoder.decode(data))
        except _UNWRITABLE as error:
            raise Refused("", "", str(error)) from error

    def _encode(self, checked: msgspec.Struct) -> bytes:
        if self._unordered:
            written = {f.name: msgspec.Raw(f.encode(getattr(checked, f.name))) for f in self._unordered}
            checked = msgspec.structs.replace(checked, **written)
        return _ENCODER.encode(checked)

    def _survives(self, checked: msgspec.Struct, decoded: msgspec.Struct) -> bool:
        return all(_same(getattr(checked, name), getattr(decoded, name)) for name in self._fields)


def _declaration(field: Field) -> tuple[str, Any] | tuple[str, Any, Any]:
    if field.default is msgspec.NODEFAULT:
        return (field.name, field.hint)
    return (field.name, field.hint, msgspec.field(default_factory=lambda: field.default))


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401  # compares values of any type
    """Equality for the round trip; also for records that have no equality of their own (`eq=False`)."""
    if one == other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    names = _record_fields(one)
    return bool(names) and all(_same(getattr(one, name), getattr(other, name)) for name in names)


def _record_fields(value: object) -> tuple[str, ...]:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    return tuple(field.name for field in dataclass_fields(value)) if is_dataclass(value) else ()

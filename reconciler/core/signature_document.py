"""One JSON object with typed fields: what a function's arguments, and its result, are written as."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from reconciler.core.signature_plain import plain
from reconciler.core.signature_types import describe
from reconciler.core.signature_values import admitting, arranged, decode, encode, reading, same

_NATIVE: Final = (
    bytes, bytearray, dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal,
)  # fmt: skip
"""Types a caller must pass as they are: without this msgspec takes a str for a datetime, or for bytes."""

_UNWRITABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What is raised for a value without JSON form; its own errors, as UnicodeEncodeError, are ValueErrors."""

_LOSSES: Final = (
    "JSON knows only str keys, and gives back records, tuples, bytes, times, arrays and frames only where the hint "
    "names them"
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
        """Write the value as JSON, the same bytes in every process."""
        return encode(arranged(value) if self.unordered else value)

    def checked(self, value: object) -> object:
        """Return the value in the type of the hint (a tuple becomes a list if a list was asked for).

        Raises:
            Refused: it does not fit, or would not come back as it is.
        """
        return self._written(value)[0]

    def written(self, value: object) -> bytes:
        """Write the value as JSON by the careful way, which takes everything that can be carried.

        Raises:
            Refused: as `checked`.
        """
        return self._written(value)[1]

    def _written(self, value: object) -> tuple[object, bytes]:
        given = type(value).__name__
        checked = self._fitting(value)
        try:
            data = encode(arranged(checked))
        except _UNWRITABLE as error:
            raise Refused(self.name, self.type_name, f"({given}) has no JSON form: {error}") from error
        try:
            decoder = msgspec.json.Decoder(self.hint, dec_hook=reading)
            lost = "" if same(checked, decode(decoder, data)) else "another value"
        except _UNWRITABLE as error:
            lost = str(error)
        if lost:
            raise Refused(
                self.name, self.type_name, f"({given}) would not come back as it is ({lost}): {_LOSSES}"
            )
        return checked, data

    def _fitting(self, value: object) -> object:
        try:
            return _converted(value, self.hint)
        except _UNWRITABLE as error:
            cause = error
        try:
            return _converted(plain(value), self.hint)
        except _UNWRITABLE:
            raise Refused(self.name, self.type_name, f"does not fit: {cause}") from cause


def _converted(value: object, hint: Any) -> Any:  # noqa: ANN401  # a value of the hint
    return msgspec.convert(value, hint, builtin_types=_NATIVE, dec_hook=admitting)


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
        self._decoder = msgspec.json.Decoder(self._struct, dec_hook=reading)

    def type_names(self) -> dict[str, str]:
        """Map field names to type names, in order."""
        return {name: field.type_name for name, field in self._fields.items()}

    def fields(self) -> Mapping[str, Field]:
        """Map names to fields, in order."""
        return self._fields

    def write(self, values: Mapping[str, object]) -> bytes:
        """Write the object as JSON, fields in order, the same bytes in every process.

        Raises:
            Refused: names the first field whose value does not fit, or would not come back as it is.
        """
        try:
            checked = _converted(values, self._struct)
            data = self._encode(checked)
            if same(checked, decode(self._decoder, data)):
                return data
            cause = None
        except _UNWRITABLE as error:
            cause = error
        return self._write_carefully(values, cause)

    def _write_carefully(self, values: Mapping[str, object], cause: Exception | None) -> bytes:
        """Write each field alone, to carry difficult values and to name the field at fault."""
        given = {name: values.get(name, field.default) for name, field in self._fields.items()}
        parts = {
            name: msgspec.Raw(self._fields[name].written(value))
            for name, value in given.items()
            if value is not msgspec.NODEFAULT
        }
        if len(parts) < len(self._fields) or not values.keys() <= parts.keys():
            raise Refused("", "", f"cannot be written as one JSON object: {cause}") from cause
        return encode(parts)

    def read(self, data: bytes) -> dict[str, Any]:
        """Map field names to values of the hinted types; a missing field gets its default.

        Raises:
            Refused: the bytes are not such an object.
        """
        try:
            return msgspec.structs.asdict(decode(self._decoder, data))
        except _UNWRITABLE as error:
            raise Refused("", "", str(error)) from error

    def _encode(self, checked: msgspec.Struct) -> bytes:
        if self._unordered:
            written = {f.name: msgspec.Raw(f.encode(getattr(checked, f.name))) for f in self._unordered}
            checked = msgspec.structs.replace(checked, **written)
        return encode(checked)


def _declaration(field: Field) -> tuple[str, Any] | tuple[str, Any, Any]:
    if field.default is msgspec.NODEFAULT:
        return (field.name, field.hint)
    return (field.name, field.hint, msgspec.field(default_factory=lambda: field.default))

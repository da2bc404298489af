"""Types as JSON: how a worker publishes a hint, so that a process without the code writes the same bytes.

Written from what msgspec sees of a hint, and read back as a hint of the same shape: records become structs, an enum
another one with the same values. What has no shape here, as a record inside of itself or a type with a codec of its own, is
`any`: taken as it is given, and checked by the worker.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict, Union

import msgspec
from msgspec import inspect as described

from reconciler.core.signature_values import arranged, decode, encode, reading

_RAW: Final = msgspec.Raw(b"")


class FieldDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field of a record: its name in JSON, its type, and its default as JSON; without one it is `required`."""

    name: str
    type: TypeDocument
    required: bool = True
    default: msgspec.Raw = _RAW


class TypeDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One type.

    Attributes:
        kind: `int`, `list`, `record` … (see `_PLAIN` and `_parts`).
        of: its parts: items, key and value, members of a union.
        name: of a record or an enum.
        values: of a literal or an enum.
        fields: of a record.
        limits: what `msgspec.Meta` says.
        options: of a struct: how it is written.
    """

    kind: str
    of: tuple[TypeDocument, ...] = ()
    name: str = ""
    values: tuple[str | int | None, ...] = ()
    fields: tuple[FieldDocument, ...] = ()
    limits: dict[str, int | float | str | bool] = {}
    options: dict[str, str | int | bool] = {}


ANY: Final = TypeDocument(kind="any")

_PLAIN: Final[dict[str, tuple[type[described.Type], Any]]] = {
    "any": (described.AnyType, Any),
    "none": (described.NoneType, type(None)),
    "bool": (described.BoolType, bool),
    "int": (described.IntType, int),
    "float": (described.FloatType, float),
    "str": (described.StrType, str),
    "bytes": (described.BytesType, bytes),
    "bytearray": (described.ByteArrayType, bytearray),
    "datetime": (described.DateTimeType, dt.datetime),
    "date": (described.DateType, dt.date),
    "time": (described.TimeType, dt.time),
    "timedelta": (described.TimeDeltaType, dt.timedelta),
    "uuid": (described.UUIDType, uuid.UUID),
    "decimal": (described.DecimalType, decimal.Decimal),
}
_KINDS: Final = {info: kind for kind, (info, _) in _PLAIN.items()}
_LIMITS: Final = (
    "gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "tz",
)  # fmt: skip
_OPTIONS: Final = ("array_like", "forbid_unknown_fields", "omit_defaults")
_COLLECTIONS: Final[dict[str, tuple[type[described.Type], Any]]] = {
    "list": (described.ListType, list),
    "set": (described.SetType, set),
    "frozenset": (described.FrozenSetType, frozenset),
}
_COLLECTED: Final = {info: kind for kind, (info, _) in _COLLECTIONS.items()}


def write_type(hint: Any) -> TypeDocument:  # noqa: ANN401  # a type hint
    """Describe a resolved hint.

    Raises:
        TypeError: msgspec cannot read the hint.
    """
    return _Writer().document(described.type_info(hint))


class _Writer:
    """One walk over a description, which remembers the records it is inside of."""

    def __init__(self) -> None:
        self._inside: list[object] = []
        self._parts: dict[type[described.Type], Callable[[Any], TypeDocument]] = {
            described.VarTupleType: lambda i: TypeDocument(kind="vartuple", of=self._of(i.item_type)),
            described.TupleType: lambda i: TypeDocument(kind="tuple", of=self._of(*i.item_types)),
            described.DictType: lambda i: TypeDocument(kind="dict", of=self._of(i.key_type, i.value_type)),
            described.UnionType: lambda i: TypeDocument(kind="union", of=self._of(*i.types)),
            described.LiteralType: lambda i: TypeDocument(kind="literal", values=tuple(i.values)),
            described.EnumType: lambda i: TypeDocument(
                kind="enum", name=i.cls.__name__, values=tuple(member.value for member in i.cls)
            ),
            described.StructType: self._struct,
            described.DataclassType: lambda i: self._record("struct", i),
            described.TypedDictType: lambda i: self._record("typeddict", i),
            described.NamedTupleType: lambda i: self._record("namedtuple", i),
        }

    def document(self, info: described.Type) -> TypeDocument:
        kind = _KINDS.get(type(info)) or _COLLECTED.get(type(info))
        if kind is None:
            part = self._parts.get(type(info))
            found = ANY if part is None else part(info)
        else:
            found = TypeDocument(kind=kind, of=self._of(*_items(info)))
        limits = {name: value for name in _LIMITS if (value := getattr(info, name, None)) is not None}
        return msgspec.structs.replace(found, limits=limits) if limits else found

    def _of(self, *infos: described.Type) -> tuple[TypeDocument, ...]:
        return tuple(map(self.document, infos))

    def _struct(self, info: described.StructType) -> TypeDocument:
        config = info.cls.__struct_config__
        options: dict[str, str | int | bool] = {name: True for name in _OPTIONS if getattr(config, name)}
        if info.tag is not None and info.tag_field is not None:
            options |= {"tag": info.tag, "tag_field": info.tag_field}
        found = self._record("struct", info)
        return msgspec.structs.replace(found, options=options) if found is not ANY and options else found

    def _record(self, kind: str, info: Any) -> TypeDocument:  # noqa: ANN401  # four classes of msgspec with no common base
        if info.cls in self._inside:
            return ANY
        self._inside.append(info.cls)
        fields = tuple(
            FieldDocument(
                name=field.encode_name,
                type=self.document(field.type),
                required=field.required,
                default=_default(field),
            )
            for field in info.fields
        )
        self._inside.pop()
        return TypeDocument(kind=kind, name=info.cls.__name__, fields=fields)


def _items(info: Any) -> tuple[described.Type, ...]:  # noqa: ANN401  # as above
    return (info.item_type,) if hasattr(info, "item_type") else ()


def _default(field: described.Field) -> msgspec.Raw:
    """Write the default of a field as JSON; nothing for one that is made anew each time (an id, the time)."""
    if field.default is not msgspec.NODEFAULT:
        return _written(field.default)
    if field.default_factory is msgspec.NODEFAULT:
        return _RAW
    once, again = (_written(field.default_factory()) for _ in range(2))
    return once if once == again else _RAW


def _written(value: object) -> msgspec.Raw:
    """Write the value as JSON; nothing when it has no JSON form."""
    try:
        return msgspec.Raw(encode(arranged(value)))
    except (TypeError, ValueError):
        return _RAW


def read_type(document: TypeDocument) -> Any:  # noqa: ANN401  # a type hint
    """Build a hint of this shape.

    Raises:
        ValueError, TypeError: it is none: of an unknown kind, or contradicts itself.
    """
    plain = _PLAIN.get(document.kind)
    hint = plain[1] if plain is not None else _read(document)
    return Annotated[hint, msgspec.Meta(**document.limits)] if document.limits else hint  # type: ignore[call-overload]  # msgspec checks them


def read_value(data: msgspec.Raw, hint: Any) -> Any:  # noqa: ANN401  # a value of the hint
    """Read a default.

    Raises:
        ValueError: it does not fit the hint.
    """
    return decode(msgspec.json.Decoder(hint, dec_hook=reading), bytes(data))


def _read(document: TypeDocument) -> Any:  # noqa: ANN401  # as above
    parts = tuple(map(read_type, document.of))
    if document.kind in _COLLECTIONS:
        (item,) = parts
        return _COLLECTIONS[document.kind][1][item]
    reader = _READERS.get(document.kind)
    if reader is None:
        raise ValueError(f"there is no type {document.kind!r:.40}")
    return reader(document, parts)


def _read_enum(document: TypeDocument, _: Sequence[Any]) -> Any:  # noqa: ANN401  # as above
    kinds = set(map(type, document.values))
    # of a kind that has an order: a set of them is written in it
    base: Any = enum.StrEnum if kinds == {str} else enum.IntEnum if kinds == {int} else enum.Enum
    return base(document.name, {f"V{number}": value for number, value in enumerate(document.values)})


def _read_struct(document: TypeDocument, _: Sequence[Any]) -> Any:  # noqa: ANN401  # as above
    fields, names = [], {}
    # those without a default may follow others, for all are given by name
    for number, field in enumerate(document.fields):
        name = f"f{number}"
        names[name] = field.name
        hint = read_type(field.type)
        fields.append((name, hint, _made(field, hint)) if field.default else (name, hint))
    options: dict[str, Any] = {**document.options}
    return msgspec.defstruct(document.name, fields, rename=names, frozen=True, kw_only=True, **options)


def _made(field: FieldDocument, hint: Any) -> Any:  # noqa: ANN401  # what msgspec.field gives
    return msgspec.field(default_factory=lambda: read_value(field.default, hint))


def _read_typeddict(document: TypeDocument, _: Sequence[Any]) -> Any:  # noqa: ANN401  # as above
    hints = {field.name: read_type(field.type) for field in document.fields}
    made = {
        field.name: hints[field.name] if field.required else NotRequired[hints[field.name]]
        for field in document.fields
    }
    return TypedDict(document.name, made)  # type: ignore[operator]  # made here


def _read_namedtuple(document: TypeDocument, _: Sequence[Any]) -> Any:  # noqa: ANN401  # as above
    hints = [read_type(field.type) for field in document.fields]
    pairs = list(zip(document.fields, hints, strict=True))
    defaults = [read_value(field.default, hint) for field, hint in pairs if field.default]
    made: Any = namedtuple(document.name, [field.name for field in document.fields], defaults=defaults)  # type: ignore[misc]  # noqa: PYI024  # made here
    made.__annotations__ = {field.name: hint for field, hint in pairs}
    return made


_TUPLE: Final[Any] = tuple
_DICT: Final[Any] = dict
_UNION: Final[Any] = Union
_LITERAL: Final[Any] = Literal
_READERS: Final[dict[str, Callable[[TypeDocument, Sequence[Any]], Any]]] = {
    "vartuple": lambda _, parts: _TUPLE[(*parts, ...)],
    "tuple": lambda _, parts: _TUPLE[parts or ()],
    "dict": lambda _, parts: _DICT[parts],
    "union": lambda _, parts: _UNION[parts],
    "literal": lambda document, _: _LITERAL[document.values],
    "enum": _read_enum,
    "struct": _read_struct,
    "typeddict": _read_typeddict,
    "namedtuple": _read_namedtuple,
}

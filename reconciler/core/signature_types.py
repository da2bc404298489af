"""Read a type hint as msgspec sees it: its name for people and cache keys, and whether JSON can carry it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import inspect as described

from reconciler.core.signature_codec import codec_of


class TypeDescription(msgspec.Struct, frozen=True):
    """The description of one type hint.

    Attributes:
        name: readable and the same in every process, e.g. `list[Point{x: float, y: float}] | None`. The
            fields of a record and the values of an enum belong to it: a changed record is another type.
        unordered: a set occurs in it, so that its JSON has no natural order.
    """

    name: str
    unordered: bool


def describe(hint: Any) -> TypeDescription:  # noqa: ANN401  # a type hint, of which typing has no type
    """Describe a resolved hint.

    Raises:
        TypeError: JSON cannot carry values of this type; the message says which part of it.
    """
    walk = _Walk()
    name = walk.name(described.type_info(hint))
    return TypeDescription(name=name, unordered=walk.unordered)


_PLAIN: dict[type[described.Type], str] = {
    described.AnyType: "Any",
    described.NoneType: "None",
    described.BoolType: "bool",
    described.IntType: "int",
    described.FloatType: "float",
    described.StrType: "str",
    described.BytesType: "bytes",
    described.ByteArrayType: "bytearray",
    described.DateTimeType: "datetime",
    described.DateType: "date",
    described.TimeType: "time",
    described.TimeDeltaType: "timedelta",
    described.UUIDType: "UUID",
    described.DecimalType: "Decimal",
}

_KEYS: Final = (
    described.AnyType, described.StrType, described.IntType, described.FloatType, described.BytesType,
    described.DateTimeType, described.DateType, described.TimeType, described.TimeDeltaType, described.UUIDType,
    described.DecimalType, described.EnumType,
)  # fmt: skip
"""What a dict may have as keys: with Any, what is no text is refused when it is given. Not what a codec writes: msgspec
asks no hook for the keys of what is not JSON text."""


class _Walk:
    """One walk over a description, which remembers the records it is inside of; they may refer to themselves."""

    def __init__(self) -> None:
        self.unordered = False
        self._inside: list[object] = []
        self._parts: dict[type[described.Type], Callable[[Any], str]] = {
            described.ListType: lambda info: f"list[{self.name(info.item_type)}]",
            described.VarTupleType: lambda info: f"tuple[{self.name(info.item_type)}, ...]",
            described.TupleType: lambda info: f"tuple[{', '.join(map(self.name, info.item_types)) or '()'}]",
            described.DictType: self._dict,
            described.SetType: lambda info: self._set("set", info),
            described.FrozenSetType: lambda info: self._set("frozenset", info),
            described.UnionType: lambda info: " | ".join(sorted(map(self.name, info.types), key=_none_last)),
            described.LiteralType: lambda info: f"Literal[{', '.join(sorted(map(repr, info.values)))}]",
            described.EnumType: _enum,
            described.StructType: self._record,
            described.DataclassType: self._record,
            described.TypedDictType: self._record,
            described.NamedTupleType: self._record,
            described.CustomType: self._custom,
        }

    def name(self, info: described.Type) -> str:
        plain = _PLAIN.get(type(info))
        if plain is not None:
            return plain
        part = self._parts.get(type(info))
        if part is None:
            raise TypeError(f"values of type {_class_name(type(info))} have no JSON form")
        return part(info)

    def _dict(self, info: described.DictType) -> str:
        key = self.name(info.key_type)
        if not _is_key(info.key_type):
            raise TypeError(
                f"keys of type {key} do not come back from JSON, whose keys are texts: use a list of pairs"
            )
        return f"dict[{key}, {self.name(info.value_type)}]"

    def _custom(self, info: described.CustomType) -> str:
        if info.cls is object:
            return "Any"
        codec = codec_of(info.cls)
        problem = "have no JSON form" if codec is None else codec.problem(info.cls)
        if codec is None or problem:
            raise TypeError(f"values of type {_class_name(info.cls)} {problem}")
        if info.cls in self._inside:
            return _class_name(info.cls)
        self._inside.append(info.cls)
        name = codec.name(info.cls, self._inner)
        self._inside.pop()
        return name

    def _inner(self, hint: Any) -> str:  # noqa: ANN401  # a type hint
        """Name a hint inside a class that writes itself: it may hold values that we could not carry."""
        try:
            return self.name(described.type_info(hint))
        except TypeError:
            origin, parts = get_origin(hint), [self._inner(part) for part in get_args(hint)]
            if origin in {Union, UnionType}:
                return " | ".join(sorted(parts, key=_none_last))
            return f"{_class_name(origin or hint)}[{', '.join(parts)}]" if parts else _class_name(hint)

    def _set(self, word: str, info: Any) -> str:  # noqa: ANN401  # two classes of msgspec with no common base
        self.unordered = True
        return f"{word}[{self.name(info.item_type)}]"

    def _record(self, info: Any) -> str:  # noqa: ANN401  # four classes of msgspec with no common base
        name = _class_name(info.cls)
        if info.cls in self._inside:
            return name
        self._inside.append(info.cls)
        fields = [f"{field.encode_name}: {self.name(field.type)}" for field in info.fields]
        self._inside.pop()
        return f"{name}{{{', '.join(fields)}}}"


def _none_last(name: str) -> tuple[bool, str]:
    return name == "None", name


def _is_key(info: described.Type) -> bool:
    """Tell whether a key of a dict can be read back from its text."""
    if isinstance(info, described.CustomType):
        return info.cls is object
    if isinstance(info, described.LiteralType):
        return all(type(value) in {str, int} for value in info.values)
    if isinstance(info, described.UnionType):
        return {type(part) for part in info.types} <= {described.IntType, described.FloatType}
    return isinstance(info, _KEYS)


def _enum(info: described.EnumType) -> str:
    if issubclass(info.cls, enum.Flag) and not issubclass(info.cls, int):
        raise TypeError(
            f"values of type {_class_name(info.cls)} have no JSON form: derive it from enum.IntFlag"
        )
    return f"{_class_name(info.cls)}({', '.join(repr(member.value) for member in info.cls)})"


def _class_name(cls: object) -> str:
    name = getattr(cls, "__qualname__", None) or str(cls)
    return name.rpartition("<locals>.")[2]

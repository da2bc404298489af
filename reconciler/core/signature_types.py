"""Reads a type hint as msgspec sees it: its name for people and cache keys, and whether JSON can carry it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect as described


class TypeDescription(msgspec.Struct, frozen=True):
    """What is known of one hint.

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


class _Walk:
    """One walk over a description; remembers the records it is inside of, which may refer to themselves."""

    def __init__(self) -> None:
        self.unordered = False
        self._inside: list[object] = []
        self._parts: dict[type[described.Type], Callable[[Any], str]] = {
            described.ListType: lambda info: f"list[{self.name(info.item_type)}]",
            described.VarTupleType: lambda info: f"tuple[{self.name(info.item_type)}, ...]",
            described.TupleType: lambda info: f"tuple[{', '.join(map(self.name, info.item_types)) or '()'}]",
            described.DictType: lambda info: (
                f"dict[{self.name(info.key_type)}, {self.name(info.value_type)}]"
            ),
            described.SetType: lambda info: self._set("set", info),
            described.FrozenSetType: lambda info: self._set("frozenset", info),
            described.UnionType: lambda info: " | ".join(sorted(map(self.name, info.types), key=_none_last)),
            described.LiteralType: lambda info: f"Literal[{', '.join(sorted(map(repr, info.values)))}]",
            described.EnumType: _enum,
            described.StructType: self._record,
            described.DataclassType: self._record,
            described.TypedDictType: self._record,
            described.NamedTupleType: self._record,
        }

    def name(self, info: described.Type) -> str:
        plain = _PLAIN.get(type(info))
        if plain is not None:
            return plain
        part = self._parts.get(type(info))
        if part is None:
            raise TypeError(
                f"values of type {_class_name(getattr(info, 'cls', type(info)))} have no JSON form"
            )
        return part(info)

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


def _enum(info: described.EnumType) -> str:
    return f"{_class_name(info.cls)}({', '.join(repr(member.value) for member in info.cls)})"


def _class_name(cls: object) -> str:
    name = getattr(cls, "__qualname__", None) or str(cls)
    return name.rpartition("<locals>.")[2]

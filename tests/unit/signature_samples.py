"""Types and functions the tests of signatures share."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import Any, NamedTuple, NewType, TypedDict

import msgspec

from reconciler.core.signature import Signature


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@dataclasses.dataclass
class Point3(Point):
    z: float = 0.0


@dataclasses.dataclass(eq=False)
class Opaque:
    inner: list[int]


class OpaqueStruct(msgspec.Struct, eq=False):
    inner: list[int]


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree]


class Record(msgspec.Struct):
    name: str
    tags: dict[str, int]


class Pair(NamedTuple):
    left: int
    right: str


class Options(TypedDict, total=False):
    depth: int


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


UserId = NewType("UserId", int)
UTC_NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)


def taking(hint: Any) -> Signature:
    """Return the signature of a function with one parameter `value` of this type, which it returns."""

    def function(value: Any) -> Any:
        return value

    function.__annotations__ = {"value": hint, "return": hint}
    return Signature.of(function)


def add(a: int, b: int = 2, *, scale: float = 1.0) -> float:
    """Return a plain function with defaults."""
    return (a + b) * scale

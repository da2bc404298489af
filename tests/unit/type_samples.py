"""Every kind of type a task can take and return, with random values of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import random
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pydantic

T = TypeVar("T")
WORDS = ["", "a", "naïve", "\U0001f600", '"\\\n', "x" * 50]
ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu"]


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.Enum):
    """Whose values are numbers, and which is no int."""

    LOW = 1
    HIGH = 2


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    tags: frozenset[str] = frozenset()


class Tag(msgspec.Struct, frozen=True, tag=True):
    name: str
    limits: dict[str, float]


class Pair(NamedTuple):
    left: int
    right: decimal.Decimal


class Options(TypedDict, total=False):
    depth: int
    where: Path


class Line(pydantic.BaseModel):
    sku: str
    price: decimal.Decimal = decimal.Decimal("0.10")


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    number: int = pydantic.Field(alias="orderNumber", ge=0)
    lines: list[Line] = []
    tags: set[str] = set()
    weight: float = 0.0
    due: dt.datetime | None = None
    by_code: dict[int, Line] = {}
    page: pydantic.HttpUrl | None = None
    _seen: int = pydantic.PrivateAttr(default=0)

    @pydantic.computed_field  # type: ignore[prop-decorator]  # as pydantic asks for it
    @property
    def size(self) -> int:
        """Not written, as it is computed again."""
        return len(self.lines)


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    barks: bool


class Animal(pydantic.RootModel[Cat | Dog]):
    pass


@dataclasses.dataclass
class Batch:
    """A record that holds what writes itself."""

    table: pd.DataFrame
    weights: npt.NDArray[np.float64]
    order: Order | None = None


def _float(rng: random.Random) -> float:
    return rng.choice([0.0, -0.0, 1e-320, 1e300, float("nan"), float("inf"), float("-inf"), rng.gauss(0, 1)])


def _decimal(rng: random.Random) -> decimal.Decimal:
    return decimal.Decimal((rng.randrange(2), tuple(rng.choices(range(10), k=30)), rng.randrange(-40, 40)))


def _moment(rng: random.Random) -> dt.datetime:
    zone = rng.choice(
        [None, dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=45)), ZoneInfo("Europe/Berlin")]
    )
    seconds = rng.randrange(4_000_000_000)
    return dt.datetime(1970, 1, 2, microsecond=rng.randrange(10**6), tzinfo=zone) + dt.timedelta(
        seconds=seconds
    )


def _order(rng: random.Random) -> Order:
    lines = [Line(sku=rng.choice(WORDS), price=_decimal(rng)) for _ in range(rng.randrange(3))]
    given: dict[str, Any] = {
        "orderNumber": rng.randrange(2**70),
        "lines": lines,
        "weight": _float(rng),
        "more": [1],
    }
    if rng.random() < 0.5:
        given |= {
            "tags": set(rng.sample(WORDS, 3)),
            "due": _moment(rng),
            "by_code": {7: lines[0]} if lines else {},
        }
    if rng.random() < 0.5:
        given["page"] = "https://example.org/a"
    return Order(**given)


def _array(rng: random.Random) -> Any:
    dtype = rng.choice(["f8", "f4", "i2", ">i4", "?", "c16", "U3", "M8[ns]", "u8"])
    shape = rng.choice([(), (0,), (3,), (2, 3), (1,)])
    values = np.asarray(np.frombuffer(rng.randbytes(8 * 6), dtype="u1")[: int(np.prod(shape))].reshape(shape))
    return np.asarray(values.astype(dtype), order=rng.choice("CF"))  # type: ignore[call-overload]  # C or F


def _table(rng: random.Random) -> pd.DataFrame:
    size = rng.randrange(4)
    columns = {"n": [rng.randrange(9) for _ in range(size)], "f": [_float(rng) for _ in range(size)]}
    frame = pd.DataFrame({**columns, "t": [rng.choice(WORDS) for _ in range(size)]})
    frame["c"] = pd.Categorical(["a"] * size)
    frame["w"] = pd.to_datetime([_moment(rng).replace(tzinfo=None) for _ in range(size)])
    return frame.set_index("w") if rng.random() < 0.5 else frame


def _frame(rng: random.Random) -> pl.DataFrame:
    size = rng.randrange(4)
    return pl.DataFrame(
        {"n": [rng.choice([None, 1, 2]) for _ in range(size)], "f": [_float(rng) for _ in range(size)]},
        schema={"n": pl.Int16, "f": pl.Float64},
    )


KINDS: dict[str, tuple[Any, Callable[[random.Random], Any]]] = {
    "bool": (bool, lambda rng: rng.random() < 0.5),
    "int": (int, lambda rng: rng.choice([-1, 1]) * rng.randrange(2 ** rng.choice([1, 31, 63, 200]))),
    "float": (float, _float),
    "str": (str, lambda rng: rng.choice(WORDS)),
    "bytes": (bytes, lambda rng: rng.randbytes(rng.randrange(5))),
    "decimal": (decimal.Decimal, _decimal),
    "uuid": (uuid.UUID, lambda rng: uuid.UUID(int=rng.getrandbits(128))),
    "datetime": (dt.datetime, _moment),
    "date": (dt.date, lambda rng: _moment(rng).date()),
    "time": (dt.time, lambda rng: _moment(rng).time()),
    "timedelta": (
        dt.timedelta,
        lambda rng: dt.timedelta(days=rng.randrange(-99, 99), microseconds=rng.randrange(10**9)),
    ),
    "enum": (Colour, lambda rng: rng.choice(list(Colour))),
    "enum of ints": (Level, lambda rng: rng.choice(list(Level))),
    "flag": (Rights, lambda rng: Rights(rng.randrange(4))),
    "literal": (Literal["a", 1] | None, lambda rng: rng.choice(["a", 1, None])),
    "union": (int | str | None, lambda rng: rng.choice([3, "3", None])),
    "path": (Path, lambda rng: Path(rng.choice(["a/b.txt", "/a/../b", ".", "naïve"]))),
    "pure path": (PurePosixPath, lambda rng: PurePosixPath(rng.choice(["a", "/b"]))),
    "fraction": (fractions.Fraction, lambda rng: fractions.Fraction(rng.randrange(99), 7)),
    "zone": (ZoneInfo, lambda rng: ZoneInfo(rng.choice(ZONES))),
    "address": (ipaddress.IPv4Address, lambda rng: ipaddress.IPv4Address(rng.getrandbits(32))),
    "network": (ipaddress.IPv6Network, lambda rng: ipaddress.IPv6Network((rng.getrandbits(128), 128))),
    "dataclass": (Point, lambda rng: Point(_float(rng), frozenset(rng.sample(WORDS, 2)))),
    "struct": (Tag, lambda rng: Tag(rng.choice(WORDS), {"a": _float(rng)})),
    "named tuple": (Pair, lambda rng: Pair(rng.randrange(9), _decimal(rng))),
    "typed dict": (Options, lambda rng: rng.choice([{}, {"depth": 1, "where": Path("x")}])),
    "set": (set[int], lambda rng: set(rng.sample(range(-99, 99), 5))),
    "mixed set": (set[int | str | None], lambda rng: {rng.randrange(9), "9", None}),
    "set of floats": (set[float], lambda rng: {_float(rng), _float(rng)}),
    "set of sets": (set[frozenset[str]], lambda rng: {frozenset(rng.sample(WORDS, 2)), frozenset(["b"])}),
    "set of records": (frozenset[Point], lambda rng: frozenset({Point(rng.random()), Point(1.0)})),
    "set of enums": (set[Level], lambda _rng: set(Level)),
    "tuple": (tuple[int, Path, float], lambda rng: (1, Path("a"), _float(rng))),
    "mapping": (dict[dt.date, set[int]], lambda rng: {_moment(rng).date(): {rng.randrange(9), 10}}),
    "enums as keys": (dict[Level, list[float]], lambda rng: {Level.LOW: [_float(rng)]}),
    "literals as keys": (dict[Literal["a", 1], int], lambda _rng: {"a": 1, 1: 2}),
    "bytes as keys": (dict[bytes, float], lambda rng: {b"\xff": _float(rng)}),
    "anything": (Any, lambda rng: {"a": [1, 2.5, None, _float(rng)]}),
    "any object": (dict[str, object], lambda rng: {"a": [1], "b": _float(rng)}),
    "model": (Order, _order),
    "generic model": (Page[Line], lambda rng: Page[Line](items=_order(rng).lines)),
    "union of models": (Animal, lambda rng: Animal(rng.choice([Cat(), Dog(barks=True)]))),
    "array": (np.ndarray, _array),
    "typed array": (npt.NDArray[np.float64], lambda rng: np.array([_float(rng), 1.0])),
    "scalar": (np.float32, lambda rng: np.float32(rng.choice([0.1, "nan", "inf", -0.0]))),
    "whole scalar": (np.uint64, lambda rng: np.uint64(rng.getrandbits(64))),
    "time scalar": (np.datetime64, lambda rng: np.datetime64(rng.randrange(10**9), "s")),
    "complex scalar": (np.complex128, lambda rng: np.complex128(complex(rng.random(), _float(rng)))),
    "table": (pd.DataFrame, _table),
    "column": (pd.Series, lambda rng: pd.Series([_float(rng), 2.0], name=rng.choice(["a", None, 3]))),
    "polars table": (pl.DataFrame, _frame),
    "polars column": (pl.Series, lambda rng: pl.Series(rng.choice(["a", ""]), [_float(rng)])),
    "record of arrays": (Batch, lambda rng: Batch(_table(rng), np.array([_float(rng)]), _order(rng))),
}
"""Name of a kind → its hint, and what makes a value of it."""


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same, by the means of their own libraries, and not of the code under test."""
    if type(one) is not type(other):
        return False
    for kinds, compare in _COMPARE:
        if isinstance(one, kinds):
            return bool(compare(one, other))
    return bool(one == other)


def _record(value: Any) -> Any:
    return (
        dict(value)
        if isinstance(value, pydantic.BaseModel)
        else {f: getattr(value, f) for f in _names(value)}
    )


def _names(value: Any) -> list[str]:
    return list(getattr(value, "__struct_fields__", None) or value.__dataclass_fields__)


_COMPARE: list[tuple[Any, Callable[[Any, Any], Any]]] = [
    (np.ndarray, lambda a, b: a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fcM")),
    (pd.DataFrame | pd.Series, lambda a, b: a.equals(b) and list(a.index) == list(b.index)),
    (pl.DataFrame | pl.Series, lambda a, b: a.equals(b)),
    (float | np.generic, lambda a, b: repr(a) == repr(b)),
    (list | tuple, lambda a, b: len(a) == len(b) and all(map(alike, a, b))),
    (dict, lambda a, b: list(a) == list(b) and all(alike(value, b[key]) for key, value in a.items())),
    (pydantic.BaseModel | Batch | Point | Tag, lambda a, b: alike(_record(a), _record(b))),
    (set | frozenset, lambda a, b: a == b or sorted(map(repr, a)) == sorted(map(repr, b))),
]

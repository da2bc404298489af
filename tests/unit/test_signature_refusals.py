"""Types that cannot be carried, told where the task is declared; and values that cannot, told where they are given."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pydantic
import pytest
from signature_samples import taking
from type_samples import Cat, Colour, Dog, Level, Line, Order, Point

from reconciler.api.errors import InvalidArguments, InvalidSpec


class Masked(np.ndarray):  # type: ignore[type-arg]  # any
    pass


class Text(str):  # noqa: SLOT000  # as libraries make them
    pass


class Table(pd.DataFrame):
    pass


class Rights(enum.Flag):
    READ = 1


class Ratio(enum.Enum):
    HALF = 0.5


class Secretive(pydantic.BaseModel):
    password: pydantic.SecretStr


class Keeper(pydantic.BaseModel):
    inner: Secretive


class Raw(pydantic.BaseModel):
    data: bytes


class Encoded(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    data: bytes


class Opaque:
    pass


class Arbitrary(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    thing: Opaque


class Excluding(pydantic.BaseModel):
    token: str = pydantic.Field(exclude=True)


class Unfinished(pydantic.BaseModel):
    other: Missing  # type: ignore[name-defined]  # noqa: F821  # the point of the test


UNUSABLE: dict[str, tuple[Any, str]] = {
    "keys that are 1 or True": (dict[Literal[1, True], int], "do not come back"),
    "keys that are tuples": (
        dict[tuple[int, int], str],
        r"keys of type tuple\[int, int\].*use a list of pairs",
    ),
    "keys that are bools": (dict[bool, int], "keys of type bool do not come back"),
    "keys that may be None": (dict[str | None, int], "keys of type str | None do not"),
    "keys that may be equal": (dict[int | str, int], "do not come back from JSON"),
    "keys that are paths": (dict[decimal.Decimal, dict[Line, int]], "keys of type Line"),
    "deque": (collections.deque[int], "values of type deque have no JSON form"),
    "memoryview": (memoryview, "have no JSON form"),
    "flag": (list[Rights], "values of type Rights have no JSON form: derive it from enum.IntFlag"),
    "enum of floats": (Ratio, "Enums must contain either all str or all int values"),
    "union of models": (Cat | Dog, r"more than one custom type.*Use types JSON can carry"),
    "union of texts": (str | dt.datetime, "more than one str-like type"),
    "lazy frame": (pl.LazyFrame, "values of type LazyFrame have no JSON form"),
    "subclass of an array": (Masked, "are no plain arrays: hint and give numpy.ndarray"),
    "subclass of a frame": (Table, "are no plain frames: hint and give those of pandas"),
    "abstract scalar": (np.floating, "hint a concrete type, as numpy.float64"),
    "scalar of objects": (np.object_, "have no type of their own"),
    "secret": (Secretive, "hold a secret"),
    "secret inside": (list[Keeper | None], "hold a secret"),
    "bytes of a model": (Raw, "set ser_json_bytes='base64'"),
    "arbitrary": (
        Arbitrary,
        "values of type Arbitrary have no JSON form .*PlainSerializer with a return_type",
    ),
    "excluded": (Excluding, "need the field token, which is excluded"),
    "unfinished": (Unfinished, "not fully defined"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_type_that_cannot_be_carried_is_refused_at_declaration(case: str) -> None:
    """Where a value could not come back the task is refused before anything runs; parameter, type and remedy are named."""
    hint, message = UNUSABLE[case]
    with pytest.raises(InvalidSpec, match=message) as refusal:
        taking(hint)
    assert "the hint of parameter value cannot be used" in str(refusal.value)


def test_bytes_of_a_model_in_base64_are_carried() -> None:
    """The remedy that the refusal of bytes names works."""
    value = Encoded(data=b"\xff\x00")
    signature = taking(Encoded)
    assert signature.decode_result(signature.encode_result(value)) == value


def test_frames_of_pandas_need_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where parquet cannot be written this is told at declaration, with what to install."""
    monkeypatch.setattr("reconciler.core.signature_frames.find_spec", lambda _name: None)
    with pytest.raises(InvalidSpec, match="pip install pyarrow"):
        taking(pd.DataFrame)
    assert importlib.util.find_spec("pyarrow")


def test_an_old_pydantic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that cannot read a model by its field names is named."""
    monkeypatch.setattr(pydantic, "VERSION", "2.9.1")
    with pytest.raises(InvalidSpec, match=r"need pydantic 2.11 or newer, installed is 2\.9\.1"):
        taking(Line)


class Growing(pydantic.BaseModel):
    """Its validator changes what it has changed before."""

    size: int

    @pydantic.field_validator("size")
    @classmethod
    def grow(cls, value: int) -> int:
        """Return one more, each time."""
        return value + 1


class Failing(pydantic.BaseModel):
    """Its validator does not accept what it has accepted once."""

    code: str

    @pydantic.field_validator("code")
    @classmethod
    def look_up(cls, value: str) -> str:
        """Raise what no validator should."""
        return {"a": "b"}[value]


@dataclasses.dataclass
class Unset:
    later: int = dataclasses.field(init=False)
    tags: set[str] = dataclasses.field(default_factory=set)


class Longer(Line):
    note: str = ""


MISFITS: dict[str, tuple[Any, Callable[[], Any], str]] = {
    "text for a path": (importlib.import_module("pathlib").Path, lambda: "a/b", "Expected `Path`, got `str`"),
    "array without a hint": (Any, lambda: np.zeros(2), "would not come back as it is"),
    "array for a list": (list[float], lambda: np.zeros(2), "Expected `array`, got `numpy.ndarray`"),
    "frame without a hint": (Any, lambda: [pd.DataFrame({"a": [1]})], "would not come back"),
    "model without a hint": (Any, lambda: Line(sku="a"), "would not come back"),
    "enum of ints without a hint": (Any, lambda: [Level.LOW], "would not come back"),
    "array of objects": (np.ndarray, lambda: np.array([object()]), "holds Python objects"),
    "masked array": (np.ndarray, lambda: np.ma.array([1], mask=[True]), "would not come back"),
    "subclass of a model": (Line, lambda: Longer(sku="a"), "would not come back"),
    "subclass inside a model": (
        Order,
        lambda: Order(orderNumber=1, lines=[Longer(sku="a", note="b")]),
        "would not come",
    ),
    "validator that is not idempotent": (Growing, lambda: Growing(size=1), "would not come back"),
    "validator that raises": (Failing, lambda: Failing(code="a"), "KeyError: 'b'"),
    "model of another type": (Line, lambda: Dog(barks=True), "Expected `Line`, got `Dog`"),
    "column of mixed types": (pd.DataFrame, lambda: pd.DataFrame({"a": [1, "x"]}), "Could not convert 'x'"),
    "columns of one name": (
        pd.DataFrame,
        lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]),
        "Duplicate column names",
    ),
    "polars objects": (pl.DataFrame, lambda: pl.DataFrame({"a": [Opaque()]}), "cannot write 'Object'"),
    "another number": (np.float32, lambda: 0.1, "Expected `float32`, got `float`"),
    "nanoseconds": (dt.datetime, lambda: pd.Timestamp("2020-01-01T00:00:00.000000001"), "got `Timestamp`"),
    "NaN as a key": (dict[float, int], lambda: {float("nan"): 1}, "would not come back"),
    "set of another type": (set[float], lambda: {"a"}, "does not fit"),
    "enum of ints beside a hint": (
        tuple[int, Any],
        lambda: (np.int64(1), Level.LOW),
        "values of type Enum have no JSON form",
    ),
    "field without a value": (Unset, Unset, "would not come back"),
    "opaque": (Any, Opaque, "values of type Opaque have no JSON form"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_value_that_cannot_be_carried_is_refused(case: str) -> None:
    """Before anything is stored the caller is told what does not fit, and so is who returns it."""
    hint, make, message = MISFITS[case]
    signature = taking(hint)
    with pytest.raises(InvalidArguments, match="parameter value") as refusal:
        signature.encode_arguments((make(),), {})
    assert message in str(refusal.value)
    with pytest.raises(InvalidArguments, match="the result of"):
        signature.encode_result(make())


FITTING: dict[str, tuple[Any, Any, Any]] = {
    "numpy float": (float, np.float64(0.1), 0.1),
    "small numpy float": (float, np.float32(0.5), 0.5),
    "numpy int": (list[int], [np.int64(2**62), np.uint8(3)], [2**62, 3]),
    "numpy bool": (dict[str, bool], {"a": np.bool_(1)}, {"a": True}),
    "numpy key": (dict[int, float], {np.int16(1): np.float64("nan")}, {1: float("nan")}),
    "numpy text": (str, np.str_("a"), "a"),
    "numpy in a set": (set[int], {np.int64(1)}, {1}),
    "numpy in a tuple": (tuple[int, float], (np.int64(1), np.float64("inf")), (1, float("inf"))),
    "numpy without a hint": (Any, {"mean": np.float64(1.5), "n": [np.int64(3)]}, {"mean": 1.5, "n": [3]}),
    "numpy in a record": (Point, Point(np.float64(1.5)), Point(1.5)),
    "zero dimensions": (float, np.array(1.5), 1.5),
    "number for a numpy number": (np.float64, 1.5, np.float64(1.5)),
    "pandas moment": (
        dt.datetime,
        pd.Timestamp("2020-01-01", tz="UTC"),
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    ),
    "pandas duration": (dt.timedelta, pd.Timedelta("1h"), dt.timedelta(hours=1)),
    "enum of texts": (dict[Colour, Level], {Colour.RED: Level.HIGH}, {Colour.RED: Level.HIGH}),
    "zone of its own": (ZoneInfo, ZoneInfo.no_cache("Asia/Kathmandu"), ZoneInfo("Asia/Kathmandu")),
    "text of another class": (Any, {"a": Text("x")}, {"a": "x"}),
    "named dict": (dict[str, int], collections.OrderedDict(a=1), {"a": 1}),
}


@pytest.mark.parametrize("case", FITTING)
def test_what_is_merely_a_subclass_fits(case: str) -> None:
    """A number of numpy or a moment of pandas, as calculations give them, fits the plain hint and comes back as that."""
    hint, value, expected = FITTING[case]
    signature = taking(hint)
    found = signature.decode_result(signature.encode_result(value))
    assert repr(found) == repr(expected)


DAMAGED: list[tuple[Any, object, str]] = [
    (np.ndarray, {"npy": "gARLAS4="}, "pickle"),
    (np.ndarray, {"npy": "!"}, "base64"),
    (np.ndarray, [1, 2], "Expected an object with 'npy'"),
    (np.float64, None, "Expected an object"),
    (np.int8, 300, "OverflowError"),
    (pd.DataFrame, {"parquet": ""}, "does not fit|not fit"),
    (Line, {"price": "x"}, "sku: Field required; price: Input should be"),
    (importlib.import_module("pathlib").Path, 3, "Expected `str`"),
]


@pytest.mark.parametrize(("hint", "document", "message"), DAMAGED)
def test_a_foreign_document_is_refused_in_a_sentence(hint: Any, document: object, message: str) -> None:
    """What nobody has written is refused when it is read, whatever the library behind it raises; no pickle is loaded."""
    with pytest.raises(InvalidArguments, match=message):
        taking(hint).decode_result(msgspec.json.encode({"o0": document}))


def test_a_large_array_is_refused_before_it_is_copied() -> None:
    """A result that is certainly too large costs no second copy in memory."""
    with pytest.raises(
        InvalidArguments, match=r"an array of 8000000000 bytes is too large, 1000 are allowed"
    ):
        taking(np.ndarray).encode_result(np.broadcast_to(np.float64(0), (10**9,)), 1000)


def test_names_of_types_tell_their_form() -> None:
    """A model with another field is another interface, and so another cache key; equal libraries' names differ."""
    assert taking(Order).interface["outputs"]["o0"] == (
        "Order{number: int, lines: list[Line{sku: str, price: Decimal}], tags: set[str], weight: float, "
        "due: datetime | None, by_code: dict[int, Line{sku: str, price: Decimal}], page: HttpUrl | None}"
    )
    assert [
        taking(hint).interface["outputs"]["o0"] for hint in (pd.Series, list[pl.Series], np.ndarray | None)
    ] == [
        "pandas.Series",
        "list[polars.Series]",
        "numpy.ndarray | None",
    ]


class Node(pydantic.BaseModel):
    children: list[Node] = []
    payload: dict[str, Any] | Opaqueish = {}


class Opaqueish(pydantic.BaseModel):
    kind: pydantic.Json[list[int]] = pydantic.Field(default="[1]", validate_default=True)


def test_models_may_hold_themselves() -> None:
    """A model that refers to itself has a name of finite length."""
    name = taking(Node).interface["outputs"]["o0"]
    assert name.startswith("Node{children: list[Node], payload: ")


def test_nothing_is_imported_that_the_hints_do_not_name() -> None:
    """A task of plain types costs no import of numpy, pandas, polars or pydantic, and none of their codecs."""
    program = (
        "import sys\n"
        "from reconciler import TaskEnvironment\n"
        "def f(x: int, names: list[str]) -> dict[str, float]: ...\n"
        "task = TaskEnvironment('t').task(f)\n"
        "task.signature.encode_arguments((1, ['a']), {})\n"
        "heavy = 'numpy pandas polars pydantic pyarrow reconciler.core.signature_models reconciler.core.signature_frames'\n"
        "print([name for name in heavy.split() if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "[]\n"


def test_equal_values_are_equal_bytes() -> None:
    """The cache key of equal arguments is the same, whatever their order in memory, in whatever process."""
    program = (
        "import dataclasses, msgspec, pydantic\n"
        "from reconciler.core.signature import Signature\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Point: tags: frozenset[str]\n"
        "class Model(pydantic.BaseModel): tags: dict[int, list[set[str]]]\n"
        "def f(a: Model, b: set[Point], c: set[frozenset[str]], d: dict[int, set[str | None]]) -> None: ...\n"
        "args = (Model(tags={1: [{*'abcdef'}]}), {Point(frozenset('abc')), Point(frozenset('x'))},"
        " {frozenset('ab'), frozenset('cd'), frozenset()}, {1: {'x', 'y', 'z', None}})\n"
        "print(Signature.of(f).encode_arguments(args, {}).decode())\n"
    )
    written = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(written) == 1
    square = np.arange(6).reshape(2, 3)
    encode = taking(np.ndarray).encode_result
    assert encode(square) == encode(np.asfortranarray(square)) == encode(square[:, ::-1][:, ::-1])

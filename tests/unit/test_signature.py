"""What arguments and results are written as, what comes back, and what is refused."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
import subprocess
import sys
import uuid
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signature_samples import (
    UTC_NOON,
    Colour,
    Opaque,
    OpaqueStruct,
    Options,
    Pair,
    Point,
    Point3,
    Record,
    Tree,
    UserId,
    add,
    taking,
)

from reconciler.api.errors import InvalidArguments
from reconciler.core.signature import Signature
from reconciler.core.signature_document import Document, Field, Refused


def shown(value: object) -> str:
    """Return a name of a case that is the same in every process, which pytest-xdist asks for."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(sorted(value) if isinstance(value, set) else value))


ROUND_TRIPS = [
    (int, 2**70),
    (float, 0.1),
    (str, "naïve \U0001f600"),
    (bool, True),
    (None, None),
    (bytes, b"\x00\xff"),
    (dt.datetime, UTC_NOON),
    (dt.datetime, dt.datetime(2026, 1, 2, 3, 4, 5, 6)),  # noqa: DTZ001  # naive ones must come back naive
    (dt.date, dt.date(2026, 1, 2)),
    (dt.time, dt.time(1, 2, 3)),
    (dt.timedelta, dt.timedelta(days=1, microseconds=1)),
    (uuid.UUID, uuid.UUID(int=7)),
    (decimal.Decimal, decimal.Decimal("0.10")),
    (Colour, Colour.GREEN),
    (Point, Point(1.5)),
    (Tree, Tree(1, [Tree(2, [])])),
    (Record, Record("r", {"a": 1})),
    (Pair, Pair(1, "x")),
    (Options, {"depth": 3}),
    (Literal["a", 1], "a"),
    (UserId, 5),
    (Annotated[int, msgspec.Meta(ge=0)], 0),
    (list[Point], [Point(1.0), Point(2.0, 3.0)]),
    (set[str], {"b", "a", "c"}),
    (frozenset[int], frozenset({1})),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (dict[str, list[int]], {"b": [1], "a": []}),
    (dict[int, str], {1: "a"}),
    (Point | None, None),
    (int | str, "1"),
    (list[Colour | None], [None, Colour.RED]),
    (decimal.Decimal, decimal.Decimal("1E+30")),
    (dict[str, object], {"a": [1, None], "@float": "x"}),
    (Any, {"a": [1, 2.5, None, True, "x"]}),
    (object, [1]),
]


@pytest.mark.parametrize(("hint", "value"), ROUND_TRIPS, ids=shown)
def test_round_trip(hint: Any, value: object) -> None:
    """A value of a supported type comes back equal and of the same type, as an argument and as a result."""
    signature = taking(hint)
    arguments = signature.decode_arguments(signature.encode_arguments((value,), {}))
    result = signature.decode_result(signature.encode_result(value))
    assert arguments == {"value": value}
    assert result == value
    assert type(arguments["value"]) is type(result) is type(value)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_json)
def test_plain_json_needs_no_hint(value: object) -> None:
    """Every JSON value passes through a parameter without a hint unchanged, and is valid JSON."""

    def function(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # the point of the test
        return value

    signature = Signature.of(function)
    data = signature.encode_arguments((value,), {})
    assert signature.decode_arguments(data) == {"value": value} == json.loads(data)


MISFITS = [
    (int, "1"),
    (int, True),
    (int, 1.0),
    (str, UTC_NOON),
    (dt.datetime, "2026-01-02T12:00:00Z"),
    (bytes, "aGk="),
    (decimal.Decimal, 0.1),
    (Point, Point("far")),  # type: ignore[arg-type]  # the point of the test
    (Point, Point3(1.0)),
    (Colour, "blue"),
    (Literal["a"], "b"),
    (Annotated[int, msgspec.Meta(ge=0)], -1),
    (list[int], [1, None]),
    (dict[str, int], {1: 1}),
    (str, "\ud800"),
    (Any, (1, 2)),
    (Any, {1, 2}),
    (Any, {1: "a"}),
    (Any, {"@float": "NaN"}),
    (Any, Colour.RED),
    (Any, b"x"),
    (Any, UTC_NOON),
    (Any, Point(1.0)),
    (Any, object()),
]


@pytest.mark.parametrize(("hint", "value"), MISFITS, ids=shown)
def test_misfit_is_refused(hint: Any, value: object) -> None:
    """A value that does not fit, or would come back as another, is refused; the message tells the remedy."""
    signature = taking(hint)
    with pytest.raises(InvalidArguments, match=r"function: parameter value .*Pass a value that fits"):
        signature.encode_arguments((value,), {})
    with pytest.raises(
        InvalidArguments, match=r"the result of .*function .*Return (a value that fits|plain values)"
    ):
        signature.encode_result(value)


def test_cycle_is_refused() -> None:
    """A list that contains itself is refused, not followed for ever."""
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(InvalidArguments, match="parameter value"):
        taking(Any).encode_arguments((cycle,), {})


def test_the_parameter_at_fault_is_named() -> None:
    """Of several arguments the one that does not fit is named, with the place inside it."""

    def function(first: int, second: dict[str, list[int]], third: str) -> None: ...

    with pytest.raises(InvalidArguments, match=r"parameter second does not fit.*\$\[\.\.\.\]\[1\]"):
        Signature.of(function).encode_arguments((1, {"a": [1, "2"]}, "x"), {})


@pytest.mark.parametrize("kind", [Opaque, OpaqueStruct])
def test_records_without_equality_survive(kind: Any) -> None:
    """A record that defines no `==` is accepted when its fields survive."""
    signature = taking(kind)
    (value,) = signature.decode_arguments(signature.encode_arguments((kind([1]),), {})).values()
    assert isinstance(value, kind)
    assert value.inner == [1]


def test_a_simple_call_is_made_by_name() -> None:
    """A function without `*args`, `**kwargs` and positional-only parameters is called with all arguments by name."""

    def function(first: int, *, second: str = "x") -> str:
        return f"{first}{second}"

    signature = Signature.of(function)
    args, kwargs = signature.call_form(signature.decode_arguments(signature.encode_arguments((1,), {})))
    assert (args, kwargs) == ((), {"first": 1, "second": "x"})
    assert function(*args, **kwargs) == "1x"


def test_a_missing_field_is_the_fault_of_the_document() -> None:
    """When each value that is given fits, the document as a whole is refused, and what is missing is named."""
    fields = [Field.of(name, int, msgspec.NODEFAULT) for name in ("x", "y")]
    with pytest.raises(Refused) as refused:
        Document("point", fields).write({"x": 1})
    assert (refused.value.field, refused.value.type_name) == ("", "")
    assert "missing required field `y`" in refused.value.problem


def test_a_tuple_for_a_list_is_accepted() -> None:
    """A tuple where a list is hinted is no mistake worth refusing: the function gets its list."""
    assert taking(list[int]).encode_arguments(((1, 2),), {}) == b'{"value":[1,2]}'


def test_defaults_are_written() -> None:
    """Defaults are part of the document: changing one later does not change an accepted action."""
    assert Signature.of(add).encode_arguments((1,), {}) == b'{"a":1,"b":2,"scale":1.0}'


def test_parameters_are_written_in_the_order_of_the_signature() -> None:
    """Equal calls give equal bytes, however they are spelt."""
    signature = Signature.of(add)
    spelt: list[tuple[tuple[int, ...], dict[str, Any]]] = [
        ((1, 3), {"scale": 2.0}),
        ((1,), {"scale": 2.0, "b": 3}),
        ((), {"b": 3, "scale": 2.0, "a": 1}),
    ]
    assert {signature.encode_arguments(*call) for call in spelt} == {b'{"a":1,"b":3,"scale":2.0}'}


def test_dicts_keep_their_order() -> None:
    """The order of a dict is the caller's and survives."""
    signature = taking(dict[str, int])
    (value,) = signature.decode_arguments(signature.encode_arguments(({"b": 1, "a": 2},), {})).values()
    assert list(value) == ["b", "a"]


def test_sets_give_the_same_bytes_in_every_process() -> None:
    """Sets are written sorted: the hash seed of a process does not show, as a cache key would."""
    program = (
        "from reconciler.core.signature import Signature\n"
        "def f(s: set[str], d: dict[str, int]) -> None: ...\n"
        "print(Signature.of(f).encode_arguments(({'x', 'y', 'z', 'w'}, {'b': 1, 'a': 2}), {}).decode())"
    )
    written = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert written == {'{"s":["w","x","y","z"],"d":{"b":1,"a":2}}\n'}


WRONG_CALLS: list[tuple[tuple[object, ...], dict[str, object], str]] = [
    ((), {}, "missing a required argument: 'a'"),
    ((1, 2, 3), {}, "too many positional arguments"),
    ((1,), {"a": 2}, "multiple values for argument 'a'"),
    ((1,), {"colour": 2}, "unexpected keyword argument 'colour'"),
]


@pytest.mark.parametrize(("args", "kwargs", "message"), WRONG_CALLS)
def test_a_wrong_call_is_refused(args: tuple[object, ...], kwargs: dict[str, object], message: str) -> None:
    """A call that Python would refuse is refused alike, and the signature is shown."""
    with pytest.raises(InvalidArguments, match=message) as refusal:
        Signature.of(add).encode_arguments(args, kwargs)
    assert "add(a: 'int', b: 'int' = 2" in str(refusal.value)


def test_every_kind_of_parameter_is_called_as_it_was() -> None:
    """Positional-only parameters, `*args`, keyword-only ones and `**kwargs` reach the function unchanged."""

    def function(a: int, /, b: int, *rest: int, key: str = "k", **more: float) -> tuple[Any, ...]:
        return a, b, rest, key, more

    signature = Signature.of(function)
    calls: list[tuple[tuple[int, ...], dict[str, Any]]] = [
        ((1, 2), {}),
        ((1, 2, 3, 4), {"key": "q", "z": 1.5, "a": 2.0}),
        ((1,), {"b": 5}),
    ]
    for args, kwargs in calls:
        call_args, call_kwargs = signature.call_form(
            signature.decode_arguments(signature.encode_arguments(args, kwargs))
        )
        assert function(*call_args, **call_kwargs) == function(*args, **kwargs)


def test_rest_parameters_are_checked() -> None:
    """Values in `*args` and `**kwargs` have to fit their hints too."""

    def function(*rest: int, **more: str) -> None: ...

    signature = Signature.of(function)
    with pytest.raises(InvalidArguments, match="parameter rest"):
        signature.encode_arguments((1, "2"), {})
    with pytest.raises(InvalidArguments, match="parameter more"):
        signature.encode_arguments((), {"x": 1})


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"a":"1"}',
        b"{}",
        b'{"a":1,"colour":2}',
        b'{"a":1,"scale":NaN}',
        b"[" * 10_000,
    ],
)
def test_a_foreign_document_is_refused(document: bytes) -> None:
    """Bytes that are not arguments of the function are refused when they are read."""
    with pytest.raises(InvalidArguments, match="the stored inputs do not fit add"):
        Signature.of(add).decode_arguments(document)


def test_a_parameter_added_later_gets_its_default() -> None:
    """An action accepted before a function got a new parameter with a default still runs."""
    assert Signature.of(add).decode_arguments(b'{"a":1}') == {"a": 1, "b": 2, "scale": 1.0}


def test_a_foreign_result_is_refused() -> None:
    """A stored result that is not of the return hint is refused when it is read."""
    with pytest.raises(InvalidArguments, match="the stored result does not fit"):
        Signature.of(add).decode_result(b'{"o0":"high"}')

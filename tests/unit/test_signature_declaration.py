"""How a function is described where it is declared, and which functions cannot be."""

from __future__ import annotations

import dataclasses
import datetime as dt
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest
from signature_samples import (
    Colour,
    Pair,
    Point,
    Tree,
    taking,
)

from reconciler.api.errors import InvalidArguments, InvalidSpec
from reconciler.core.signature import Signature


def test_no_result() -> None:
    """A function without a result writes a null, and gives None back."""

    def function() -> None: ...

    signature = Signature.of(function)
    assert signature.encode_result(None) == b'{"o0":null}'
    assert signature.decode_result(b'{"o0":null}') is None
    with pytest.raises(InvalidArguments, match="the result of"):
        signature.encode_result(1)


def test_interface_names_types_for_people_and_caches() -> None:
    """The interface is plain text that shows what a value looks like, without modules or addresses."""

    def function(  # type: ignore[no-untyped-def]  # noqa: PLR0917  # one parameter for each kind of type
        plain,  # noqa: ANN001  # no hint is a case of its own
        point: Point | None,
        tree: list[Tree],
        colour: Colour,
        choice: Literal["b", "a"],
        times: dict[str, tuple[dt.datetime, ...]],
        pair: Pair,
    ) -> set[int]:
        raise NotImplementedError

    assert Signature.of(function).interface == {
        "inputs": {
            "plain": "Any",
            "point": "Point{x: float, y: float} | None",
            "tree": "list[Tree{value: int, children: list[Tree]}]",
            "colour": "Colour('red', 'green')",
            "choice": "Literal['a', 'b']",
            "times": "dict[str, tuple[datetime, ...]]",
            "pair": "Pair{left: int, right: str}",
        },
        "outputs": {"o0": "set[int]"},
    }


def test_equal_types_have_equal_names() -> None:
    """The order in which a union is spelt makes no other interface."""
    assert taking(int | None | str).interface == taking(str | int | None).interface


def test_a_coroutine_counts_as_what_it_gives() -> None:
    """The output of an `async def` function is that of the awaited result."""

    async def function() -> int:
        return 1

    assert Signature.of(function).interface["outputs"] == {"o0": "int"}


def test_a_function_that_never_returns_can_be_described() -> None:
    """`NoReturn` means that there is no result."""

    def function() -> NoReturn:
        raise SystemExit

    assert Signature.of(function).interface["outputs"] == {"o0": "None"}


def test_local_classes_resolve() -> None:
    """String hints may name classes of the function in which the function is defined."""

    @dataclasses.dataclass
    class Local:
        x: int

    def function(value: Local, more: list[Local]) -> Local:
        return more[0] if more else value

    signature = Signature.of(function)
    assert signature.interface["inputs"] == {"value": "Local{x: int}", "more": "list[Local{x: int}]"}
    assert signature.decode_result(signature.encode_result(Local(3))) == Local(3)


def test_functions_of_a_script_resolve(tmp_path: Path) -> None:
    """Functions and classes defined in `__main__`, with string hints, can be described."""
    script = tmp_path / "script.py"
    script.write_text(
        "from __future__ import annotations\n"
        "import dataclasses\n"
        "from reconciler.core.signature import Signature\n"
        "@dataclasses.dataclass\n"
        "class Mine:\n"
        "    x: int\n"
        "def f(m: Mine) -> Mine | None: ...\n"
        "print(Signature.of(f).interface)\n"
    )
    shown = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown == "{'inputs': {'m': 'Mine{x: int}'}, 'outputs': {'o0': 'Mine{x: int} | None'}}\n"


def _with_hint(hint: Any) -> Callable[..., object]:
    def function(value: Any) -> None: ...

    function.__annotations__["value"] = hint
    return function


def _with_default(hint: Any, default: object) -> Callable[..., object]:
    def function(value: Any = default) -> None: ...

    function.__annotations__["value"] = hint
    return function


def _generator() -> Iterable[int]:
    yield 1


async def _async_generator() -> Any:
    yield 1


UNUSABLE: list[tuple[Callable[..., object], str]] = [
    (_with_hint("Missing"), r"a type hint cannot be resolved: name 'Missing'.*TYPE_CHECKING"),
    (_with_hint("1 +"), "a type hint cannot be resolved"),
    (_with_hint(slice), r"parameter value cannot be used: values of type slice.*Use types JSON can carry"),
    (_with_hint(list[Iterable[int]]), "values of type Iterable"),
    (_with_hint(complex), "values of type complex"),
    (_with_hint(Point | Tree), "parameter value cannot be used"),
    (_with_default(int, None), r"the default of parameter value does not fit.*\| None"),
    (_with_default(Any, object()), "the default of parameter value"),
    (_generator, "yields. Return a list"),
    (_async_generator, "yields. Return a list"),
    (print, "is not a function"),
    (Point, "is not a function"),
]


@pytest.mark.parametrize(("function", "message"), UNUSABLE, ids=lambda part: getattr(part, "__name__", part))
def test_what_cannot_work_is_refused_at_declaration(function: Callable[..., object], message: str) -> None:
    """A function whose values could not be carried is refused where it is declared, not when it is called."""
    with pytest.raises(InvalidSpec, match=message):
        Signature.of(function)


def test_an_unusable_return_hint_is_refused_at_declaration() -> None:
    """A result that could not be carried is refused before anything runs."""

    def function() -> Iterable[int]:
        return []

    with pytest.raises(InvalidSpec, match="the return hint cannot be used: values of type Iterable"):
        Signature.of(function)

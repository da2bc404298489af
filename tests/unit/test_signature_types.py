"""What a task can take and return: every kind of type in every position, from its call to its result."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from type_samples import KINDS, alike

from reconciler.core.cachekey import hash_inputs
from reconciler.core.signature import Signature

Shape = tuple[Callable[[Any], Any], Callable[[Any], Any]]
POSITIONS: dict[str, Shape] = {
    "alone": (lambda hint: hint, lambda value: value),
    "optional": (lambda hint: hint | None if hint is not Any else hint, lambda value: value),
    "in a dict": (lambda hint: dict[str, hint], lambda value: {"b": value, "a": value}),
    "deep": (lambda hint: list[tuple[int, dict[str, hint]]], lambda value: [(1, {"a": value}), (2, {})]),
}

SLOW = {"table", "column", "record of arrays"}
"""What pandas writes and reads: some milliseconds each."""


def echoing(hint: Any) -> Signature:
    """Return the signature of a function that gives back each kind of parameter there is."""

    def function(first: Any, /, second: Any, *rest: Any, key: Any, **more: Any) -> Any:
        return [first, second, *rest, key, *more.values()]

    function.__annotations__ = dict.fromkeys(["first", "second", "rest", "key", "more"], hint)
    function.__annotations__["return"] = list[hint]
    function.__defaults__ = ()
    return Signature.of(function)


def passed_on(signature: Signature, value: Any) -> tuple[list[Any], bytes]:
    """What a caller gets from a worker: arguments written, read and given, the result written and read."""
    document = signature.encode_arguments((value, value, value), {"key": value, "extra": value})
    args, kwargs = signature.call_form(signature.decode_arguments(document))
    result = [*args, *(kwargs[name] for name in kwargs)]
    return signature.decode_result(signature.encode_result(result)), document


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_as_it_was(kind: str, position: str) -> None:
    """A value of each type, wherever it stands, reaches the function and its caller as it was, also a random one."""
    seed = random.randrange(10**9)
    hint, make = KINDS[kind]
    wrap_hint, wrap = POSITIONS[position]
    signature = echoing(wrap_hint(hint))
    rng = random.Random(seed)
    for _ in range(1 if kind in SLOW else 3):
        value = wrap(make(rng))
        found, document = passed_on(signature, value)
        assert len(found) == 5
        assert all(alike(value, one) for one in found), f"seed {seed}: {value!r} became {found[0]!r}"
        json.loads(document, parse_constant=lambda text: pytest.fail(f"seed {seed}: {text} is no JSON"))
        hash_inputs(document)


@pytest.mark.parametrize("kind", KINDS)
def test_a_default_is_written_as_if_it_were_given(kind: str) -> None:
    """A default of each type is checked where the task is declared, and reaches the function as any argument."""
    seed = random.randrange(10**9)
    hint, make = KINDS[kind]
    value = make(random.Random(seed))

    def function(given: Any, value: Any = value) -> None: ...

    function.__annotations__ = {"given": hint, "value": hint, "return": None}
    signature = Signature.of(function)
    document = signature.encode_arguments((value,), {})
    assert document == signature.encode_arguments((), {"given": value, "value": value}), f"seed {seed}"
    assert alike(signature.decode_arguments(document)["value"], value), f"seed {seed}: {value!r}"

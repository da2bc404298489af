"""Which calls share a cache key (R49): vectors of Flyte, and the equalities as properties."""

from __future__ import annotations

import base64
import math
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.api.template import Identifier, Interface
from reconciler.core.cachekey import (
    CacheConfigError,
    compute_key,
    hash_inputs,
    identifier_hash,
    inputs_hash,
    interface_hash,
    objecthash,
)

TASK = Identifier(project="project", domain="domain", name="task", org="org")
INTERFACE = Interface(inputs={"x": "int", "y": "int"}, outputs={"o0": "int"})
EMPTY = "GKw-c0PwFokMUQ6T-TUmEWnZ4_VlQ2Qpgw-vCTT0-OQ"
names = st.text("abcdefgh", min_size=1, max_size=4)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
maps = st.dictionaries(names, values, max_size=4)


def key(
    inputs: dict[str, Any] | None = None,
    *,
    task: Identifier = TASK,
    interface: Interface | None = INTERFACE,
    ignored: tuple[str, ...] = (),
    version: str = "v1",
) -> str:
    """Return the key of a call that differs from the others in what is given."""
    return compute_key(task, interface, msgspec.json.encode(inputs or {}), ignored, version)


def literal(number: int) -> dict[str, Any]:
    """Return an integer in Flyte's canonical JSON."""
    return {"scalar": {"primitive": {"integer": str(number)}}}


def same_json(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal, with `true` unlike 1 and 1 like 1.0."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same_json(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


# -- vectors (9.3) -----------------------------------------------------------------------------------------------------
@pytest.mark.rule("R49")
@pytest.mark.parametrize("inputs", [b"", b"{}", None], ids=["no bytes", "empty map", "none"])
def test_empty_inputs_hash_like_flytes(inputs: bytes | None) -> None:
    """No inputs and the empty map have the hash Flyte gives the empty map."""
    assert compute_key(TASK, INTERFACE, inputs, (), "v").endswith(f"-{EMPTY}-v")


@pytest.mark.rule("R49")
@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")])
def test_a_map_of_literals_hashes_like_flytes(order: tuple[str, str]) -> None:
    """Flyte's own vector of two integers comes out, in either order."""
    document = {"literals": {name: literal(int(name)) for name in order}}
    digest = base64.urlsafe_b64encode(objecthash(document)).decode().rstrip("=")
    assert digest == "GQid5LjHbakcW68DS3P2jp80QLbiF0olFHF2hTh5bg8"


@pytest.mark.rule("R49")
@pytest.mark.parametrize("version", ["", "v1", "v2"])
@pytest.mark.parametrize("kind", ["", "UNSPECIFIED"])
def test_an_identifier_hashes_like_flytes(kind: str, version: str) -> None:
    """Flyte's vector of an identifier comes out whatever its version, with or without the default kind."""
    task = Identifier(
        resource_type=kind,
        project="project_1",
        domain="domain_1",
        name="name_1",
        version=version,
        org="org_1",
    )
    assert identifier_hash(task) == "+UmrGhEwHv3FesdpA4gliBluF3FUXz4tshmuOlw1FSk="


@pytest.mark.rule("R49")
@pytest.mark.parametrize(
    ("task", "version", "wanted"),
    [
        (TASK, "cache-v1", "5yBg1NxRy4SahjnXcfjTaol4Bwv8Eg/Z5U/fO2nNKX0="),
        (
            Identifier(project="project", domain="domain", name="task-name"),
            "precomputed-cache-key",
            "ZsqDsk8dbqrMUtw+ky6fY5MywOPhfKr/G/Q7Awhq4FQ=",
        ),
    ],
    ids=["with org", "without org"],
)
def test_a_whole_key_is_flytes(task: Identifier, version: str, wanted: str) -> None:
    """The two complete keys of the specification come out."""
    assert (
        compute_key(task, Interface(), None, (), version) == f"{wanted}-GKw-c0Pw-GKw-c0Pw-{EMPTY}-{version}"
    )


# -- composition (9.1) -------------------------------------------------------------------------------------------------
@pytest.mark.rule("R49")
def test_the_task_version_is_no_part_of_the_key() -> None:
    """A new version of a task finds the outputs of the old one."""
    assert key(task=msgspec.structs.replace(TASK, version="2")) == key()


@pytest.mark.rule("R49")
@pytest.mark.parametrize("part", ["resource_type", "project", "domain", "name", "org"])
def test_every_other_part_of_the_identity_counts(part: str) -> None:
    """Two tasks that differ in any part of their identity share nothing."""
    assert key(task=msgspec.structs.replace(TASK, **{part: "other"})) != key()


@pytest.mark.rule("R49")
@pytest.mark.parametrize(
    "other",
    [
        Interface(inputs={"x": "str", "y": "int"}, outputs={"o0": "int"}),
        Interface(inputs=INTERFACE.inputs),
        Interface(inputs={"x": "int"}, outputs=INTERFACE.outputs),
        Interface(inputs=INTERFACE.outputs, outputs=INTERFACE.inputs),
    ],
    ids=["type", "no outputs", "fewer inputs", "swapped"],
)
def test_the_interface_counts(other: Interface) -> None:
    """A task with another signature shares nothing with its former self."""
    assert key(interface=other) != key()


@pytest.mark.rule("R49")
def test_a_missing_interface_is_the_empty_one() -> None:
    """No interface and an interface without variables have the same hash."""
    assert interface_hash(None) == interface_hash(Interface()) == "GKw-c0Pw-GKw-c0Pw"


@pytest.mark.rule("R49")
def test_the_cache_version_counts() -> None:
    """Raising the cache version forgets what was cached; it ends the key as it was given."""
    assert key(version="v2") != key()
    assert key(version="").endswith("-")


@pytest.mark.rule("R49")
def test_a_task_without_identity_has_no_key() -> None:
    """Without an identifier there is no key, and the error says so."""
    with pytest.raises(CacheConfigError, match="discoverable task is missing identifier"):
        compute_key(None, INTERFACE, b"{}", (), "v")


@pytest.mark.rule("R49")
@pytest.mark.parametrize("inputs", [b"[]", b"nonsense", b'{"x":NaN}', b'{"x":1e999}'])
def test_inputs_that_are_no_json_object_have_no_key(inputs: bytes) -> None:
    """Inputs that cannot be read as one JSON object are refused, naming the reason."""
    with pytest.raises(CacheConfigError, match="the inputs cannot be hashed"):
        compute_key(TASK, INTERFACE, inputs, (), "v")


@pytest.mark.rule("R49")
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_have_no_hash(number: float) -> None:
    """NaN and infinity are refused rather than made equal to something."""
    with pytest.raises(CacheConfigError, match="NaN and infinity"):
        objecthash(number)


# -- equalities (9.3) --------------------------------------------------------------------------------------------------
@pytest.mark.rule("R49")
@given(maps)
def test_equal_inputs_have_equal_keys_in_any_order(inputs: dict[str, Any]) -> None:
    """The order in which inputs are written never matters."""
    assert key(dict(reversed(inputs.items()))) == key(inputs)


@pytest.mark.rule("R49")
@given(maps, maps)
def test_different_inputs_have_different_keys(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Two calls share a key exactly when their inputs are equal."""
    assert (key(a) == key(b)) is same_json(a, b)


@pytest.mark.rule("R49")
@given(st.integers(), st.integers(min_value=1, max_value=3))
def test_neighbouring_integers_never_meet(number: int, step: int) -> None:
    """Integers are told apart however large they are, also where a float could not."""
    assert inputs_hash({"x": number}) != inputs_hash({"x": number + step})


@pytest.mark.rule("R49")
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_told_apart_exactly(a: float, b: float) -> None:
    """Two floats share a hash exactly when they are equal; 0.0 and -0.0 are."""
    assert (objecthash(a) == objecthash(b)) is (a == b)


@pytest.mark.rule("R49")
@pytest.mark.parametrize(
    "value", [2**53 + 1, 2**64, -(2**80), 10**5000], ids=["2^53+1", "2^64", "-2^80", "10^5000"]
)
def test_a_huge_integer_has_a_hash(value: int) -> None:
    """No integer is too large for a key."""
    assert len(objecthash(value)) == 32


@pytest.mark.rule("R49")
@given(maps, values, names)
def test_an_ignored_input_never_counts(inputs: dict[str, Any], value: Any, name: str) -> None:
    """A key is the same whatever an ignored input holds, and whether it is there at all."""
    without = {k: v for k, v in inputs.items() if k != name}
    assert key({**inputs, name: value}, ignored=(name,)) == key(without, ignored=(name,)) == key(without)


@pytest.mark.rule("R49")
@given(names, values, values)
def test_content_with_a_hash_counts_by_the_hash(content: str, a: Any, b: Any) -> None:
    """A value that carries its own hash is compared by it alone, at any depth."""
    one, two = {"@hash": content, "uri": a}, {"@hash": content, "uri": b}
    assert key({"x": one}) == key({"x": two})
    assert key({"x": [{"deep": one}]}) == key({"x": [{"deep": two}]})


@pytest.mark.rule("R49")
@given(names, names)
def test_different_content_hashes_differ(a: str, b: str) -> None:
    """Two values with different hashes of their own are different inputs."""
    assume(a != b)
    assert key({"x": {"@hash": a}}) != key({"x": {"@hash": b}})


@pytest.mark.rule("R49")
@given(names)
def test_a_content_hash_is_no_ordinary_value(content: str) -> None:
    """An ordinary object with a member `hash` is never taken for content with that hash."""
    assert key({"x": {"@hash": content}}) != key({"x": {"hash": content}})


@pytest.mark.rule("R49")
@pytest.mark.parametrize("empty", ["", 1, None])
def test_an_empty_content_hash_is_none(empty: object) -> None:
    """An empty hash, or one that is no text, replaces nothing: the other members count."""
    assert key({"x": {"@hash": empty, "a": 1}}) != key({"x": {"@hash": empty, "a": 2}})


@pytest.mark.rule("R49")
def test_inputs_of_too_many_levels_are_an_error_with_a_name() -> None:
    """What no JSON reader can follow is no input that can be hashed: a sentence, not a crash of the round."""
    with pytest.raises(CacheConfigError, match="the inputs cannot be hashed"):
        hash_inputs(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)

"""The cache key: same key iff same task, interface, cache version and inputs less the ignored ones (R49).

Hashes are objecthash over canonical JSON, as Flyte computes them, so that keys of both agree (R49).
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from reconciler.api.errors import ReconcilerError
from reconciler.api.reading import read_json
from reconciler.api.template import Identifier, Interface

CONTENT_HASH = "@hash"
"""An object with this member, `{"@hash": "…"}`, counts by that hash alone (R49)."""

_EXACT = 2**53
"""Integers up to this are exact as floats."""


class CacheConfigError(ReconcilerError):
    """The cache settings of a task cannot be used: deterministic, so a retry cannot help."""


def objecthash(value: Any, *, contents: bool = False) -> bytes:  # noqa: ANN401  # any JSON value
    """Compute the SHA-256 objecthash of a JSON value, in time linear in its size. The order of members never matters.

    Args:
        value: the value.
        contents: whether an object with a `@hash` member counts by it alone (R49).

    Raises:
        CacheConfigError: it holds NaN or infinity.
        RecursionError: it has too many levels.
    """
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar(value)
    if isinstance(value, Mapping):
        stated = value.get(CONTENT_HASH) if contents else None
        if isinstance(stated, str) and stated:
            return objecthash({CONTENT_HASH: stated})
        return _members({name: objecthash(member, contents=contents) for name, member in value.items()})
    return _tagged(b"l", b"".join([objecthash(member, contents=contents) for member in value]))


def _members(hashes: Mapping[Any, bytes]) -> bytes:
    """Hash an object from the hashes of its members."""
    return _tagged(b"d", b"".join(sorted([_text(str(name)) + data for name, data in hashes.items()])))


def _tagged(tag: bytes, data: bytes) -> bytes:
    return hashlib.sha256(tag + data).digest()


def _text(value: str) -> bytes:
    return hashlib.sha256(b"u" + value.encode()).digest()


@lru_cache(maxsize=1024, typed=True)
def _number(value: float) -> bytes:
    """Hash a number; results are kept, because most numbers occur many times."""
    if isinstance(value, int) and abs(value) > _EXACT:
        # beyond this a float would make neighbours equal, and the cache serve the result of another input
        return _tagged(b"i", f"{value:x}".encode())
    return _tagged(b"f", _normalised(float(value)).encode())


def _normalised(number: float) -> str:
    """Write a float as objecthash does: sign, exponent and binary fraction, exact and unique."""
    if number == 0:
        return "+0:"
    if not math.isfinite(number):
        raise CacheConfigError(f"an input holds {number}: NaN and infinity have no place in a cache key")
    # in one step: dividing until it fits took a thousand divisions and characters for each number near the limits
    fraction, exponent = math.frexp(abs(number))
    sign = "-" if number < 0 else "+"
    if fraction == 0.5:
        return f"{sign}{exponent - 1}:1"
    return f"{sign}{exponent}:0{int(fraction * _EXACT):053b}".rstrip("0")


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: _tagged(b"n", b""),
    bool: lambda value: _tagged(b"b", b"1" if value else b"0"),
    int: _number,
    float: _number,
    str: _text,
}


def identifier_hash(identifier: Identifier, function: str = "") -> str:
    """Hash an identity without its version (R49), and the function that runs, where there is one."""
    members = {
        "resourceType": identifier.resource_type
        if identifier.resource_type not in {"", "UNSPECIFIED"}
        else "",
        "project": identifier.project,
        "domain": identifier.domain,
        "name": identifier.name,
        "org": identifier.org,
        "function": function,  # a name in a template is what its submitter wrote; this is what computes the result
    }
    return base64.b64encode(objecthash({k: v for k, v in members.items() if v})).decode()


def _url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def interface_hash(interface: Interface | None) -> str:
    """Compute `<inputs>-<outputs>`, 8 characters each; a missing map counts as the empty one (R49)."""
    inputs, outputs = (interface.inputs, interface.outputs) if interface else ({}, {})
    return "-".join(_url(objecthash(dict(part)))[:8] for part in (inputs, outputs))


def inputs_hash(values: Mapping[str, Any], ignored: Iterable[str] = ()) -> str:
    """Hash the inputs less the ignored ones (R49)."""
    skip = set(ignored)
    counted = {name: objecthash(value, contents=True) for name, value in values.items() if name not in skip}
    return _url(_members(counted))


def hash_inputs(inputs: bytes | None, ignored: Iterable[str] = ()) -> str:
    """Hash a document of inputs less the ignored ones; none count as an empty one (R49).

    Raises:
        CacheConfigError: they are no JSON object, or one of too many levels.
    """
    try:
        values = read_json(inputs, dict[str, Any]) if inputs else {}
        return inputs_hash(values, ignored)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CacheConfigError(f"the inputs cannot be hashed: {error}") from error


def compute_key(
    identifier: Identifier | None,
    interface: Interface | None,
    inputs: bytes | None,
    ignored: Iterable[str],
    version: str,
    *,
    hashed: str = "",
    function: str = "",
) -> str:
    """Compute `<identifier>-<interface>-<inputs>-<version>` (R49).

    Args:
        identifier: of the task; its version does not count.
        interface: of the task.
        inputs: the document of inputs.
        ignored: names of inputs that do not count.
        version: the cache version.
        hashed: the hash of the inputs, where it is known already; nothing is hashed then (R49).
        function: stored name of the function that computes the outputs; empty where a plugin does.

    Raises:
        CacheConfigError: no identifier, or the inputs are no JSON object.
    """
    if identifier is None:
        raise CacheConfigError("discoverable task is missing identifier")
    inputs_part = hashed or hash_inputs(inputs, ignored)
    return f"{identifier_hash(identifier, function)}-{interface_hash(interface)}-{inputs_part}-{version}"

"""The cache key: same key iff same task, interface, cache version and inputs less the ignored ones (spec 9).

Hashes are objecthash over canonical JSON, as Flyte computes them, so that keys of both agree (spec 9.3).
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from reconciler.api.errors import ReconcilerError
from reconciler.api.reading import read_json
from reconciler.api.template import Identifier, Interface

CONTENT_HASH = "@hash"
"""An object with this member, `{"@hash": "…"}`, counts by that hash alone (spec 9.2)."""

_EXACT = 2**53
"""Integers up to this are exact as floats."""


class CacheConfigError(ReconcilerError):
    """The cache settings of a task cannot be used: deterministic, so a retry cannot help."""


def objecthash(value: Any) -> bytes:  # noqa: ANN401, PLR0911  # any JSON value; one return for each kind
    """SHA-256 objecthash of a JSON value; the order of members never matters."""
    if value is None:
        return _tagged(b"n", b"")
    if isinstance(value, bool):
        return _tagged(b"b", b"1" if value else b"0")
    if isinstance(value, int) and abs(value) > _EXACT:
        # beyond this a float would make neighbours equal, and the cache serve the result of another input
        return _tagged(b"i", f"{value:x}".encode())
    if isinstance(value, (int, float)):
        return _tagged(b"f", _normalised(float(value)).encode())
    if isinstance(value, str):
        return _tagged(b"u", value.encode())
    if isinstance(value, Mapping):
        members = sorted(objecthash(str(k)) + objecthash(v) for k, v in value.items())
        return _tagged(b"d", b"".join(members))
    return _tagged(b"l", b"".join(objecthash(member) for member in value))


def _tagged(tag: bytes, data: bytes) -> bytes:
    return hashlib.sha256(tag + data).digest()


def _normalised(number: float) -> str:
    """The float notation of objecthash: sign, exponent and binary fraction, exact and unique."""
    if number == 0:
        return "+0:"
    if not math.isfinite(number):
        raise CacheConfigError(f"an input holds {number}: NaN and infinity have no place in a cache key")
    sign, number = ("-", -number) if number < 0 else ("+", number)
    exponent = 0
    while number > 1:
        number /= 2
        exponent += 1
    while number <= 0.5:
        number *= 2
        exponent -= 1
    text = f"{sign}{exponent}:"
    while number != 0:
        if number >= 1:
            text += "1"
            number -= 1
        else:
            text += "0"
        number *= 2
    return text


def identifier_hash(identifier: Identifier, function: str = "") -> str:
    """Hash of an identity without its version (spec 9.1), and of the function that runs, where there is one."""
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
    """`<inputs>-<outputs>`, 8 characters each; a missing map counts as the empty one (spec 9.1)."""
    inputs, outputs = (interface.inputs, interface.outputs) if interface else ({}, {})
    return "-".join(_url(objecthash(dict(part)))[:8] for part in (inputs, outputs))


def inputs_hash(values: Mapping[str, Any], ignored: Iterable[str] = ()) -> str:
    """Hash of the inputs less the ignored ones (spec 9.1, 9.2)."""
    skip = set(ignored)
    return _url(objecthash({name: _hash_form(value) for name, value in values.items() if name not in skip}))


def _hash_form(value: Any) -> Any:  # noqa: ANN401  # any JSON value
    if isinstance(value, Mapping):
        content = value.get(CONTENT_HASH)
        if isinstance(content, str) and content:
            return {CONTENT_HASH: content}
        return {name: _hash_form(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hash_form(member) for member in value]
    return value


def hash_inputs(inputs: bytes | None, ignored: Iterable[str] = ()) -> str:
    """Hash of a document of inputs less the ignored ones; none count as an empty one (spec 9.1).

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
    """`<identifier>-<interface>-<inputs>-<version>` (spec 9.1).

    Args:
        identifier: of the task; its version does not count.
        interface: of the task.
        inputs: the document of inputs.
        ignored: names of inputs that do not count.
        version: the cache version.
        hashed: the hash of the inputs, where it is known already; nothing is hashed then (spec W-25).
        function: stored name of the function that computes the outputs; empty where a plugin does.

    Raises:
        CacheConfigError: no identifier, or the inputs are no JSON object.
    """
    if identifier is None:
        raise CacheConfigError("discoverable task is missing identifier")
    inputs_part = hashed or hash_inputs(inputs, ignored)
    return f"{identifier_hash(identifier, function)}-{interface_hash(interface)}-{inputs_part}-{version}"

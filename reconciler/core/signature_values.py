"""Convert values to JSON and back where msgspec alone would refuse, lose or reorder them."""

from __future__ import annotations

import copy
import dataclasses
import decimal
import math
from collections.abc import Callable, Collection
from typing import Any, Final, get_origin

import msgspec

from reconciler.core.signature_codec import Codec, codec_of
from reconciler.core.signature_plain import SCALARS, Member, plain

_FLOAT: Final = "@float"
_MARK: Final = b'"@float"'
_NAMES: Final = frozenset({"NaN", "Infinity", "-Infinity"})
"""Floats JSON has no number for: written as `{"@float": name}`."""

_NUMBERS: Final = frozenset({int, float, bool})


# -- hooks of msgspec --------------------------------------------------------------------------------------------
def writing(value: object) -> object:
    """Answer msgspec for a value it cannot write.

    Raises:
        TypeError, ValueError: nobody can.
    """
    codec = codec_of(type(value))
    if codec is not None:
        return _by(codec, value)
    known = plain(value)
    if known is value:
        name = "Enum" if isinstance(value, Member) else type(value).__name__
        raise TypeError(f"values of type {name} have no JSON form")
    return known


def reading(hint: Any, data: object) -> object:  # noqa: ANN401  # a type hint
    """Answer msgspec for a hint it does not know.

    Raises:
        ValueError: the data is none of it.
    """
    cls, codec = _asked(hint)
    if codec is None:
        return data
    try:
        return codec.read(cls, data)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def admitting(hint: Any, value: object) -> object:  # noqa: ANN401  # a type hint
    """Check and convert what a caller gave for a hint, as the codec of its class says."""
    cls, codec = _asked(hint)
    return value if codec is None else codec.admit(cls, value)


def _asked(hint: Any) -> tuple[type, Codec | None]:  # noqa: ANN401  # a type hint
    """Find the class of a hint, and its codec; none for `object`, which is anything. Others were refused when declared."""
    cls = get_origin(hint) or hint
    return cls, codec_of(cls)


# -- forms of a value --------------------------------------------------------------------------------------------
def arranged(value: Any) -> Any:  # noqa: ANN401  # any value
    """Return the value for msgspec in which sets are sorted and every float can be carried."""
    kind = type(value)
    if kind in SCALARS:
        return value if kind is not float or math.isfinite(value) else {_FLOAT: _name(value)}
    for base, made in _ARRANGED:
        if isinstance(value, base):
            return made(value)
    names = record_fields(value)
    if names:
        return _record(value, names)
    codec = codec_of(kind)
    return value if codec is None else arranged(_by(codec, value))


def _by(codec: Codec, value: object) -> object:
    """Write a value by its codec; errors of the libraries behind it are the fault of the value."""
    try:
        return codec.write(value)
    except Exception as error:
        name = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise ValueError(f"{name}{error}".partition("\n")[0]) from error


def _name(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _sorted(values: Collection[Any]) -> list[Any]:
    """Sort by value where that order is the same in every process, else by the written form."""
    kinds = set(map(type, values))
    natural = kinds <= _NUMBERS or (len(kinds) == 1 and kinds <= SCALARS)
    if natural and all(value == value for value in values):  # noqa: PLR0124  # NaN
        return [arranged(value) for value in sorted(values)]
    return [msgspec.Raw(data) for data in _written(values)]


def _written(values: Collection[Any]) -> list[bytes]:
    return sorted(encode(arranged(value)) for value in values)


_ARRANGED: Final[tuple[tuple[Any, Callable[[Any], object]], ...]] = (
    (set | frozenset, _sorted),
    (list | tuple, lambda value: [arranged(part) for part in value]),
    (dict, lambda value: {key: arranged(part) for key, part in value.items()}),
)


def _record(value: Any, names: tuple[str, ...]) -> Any:  # noqa: ANN401  # a record
    made = copy.copy(value)
    force = msgspec.structs.force_setattr if isinstance(value, msgspec.Struct) else object.__setattr__
    for name in names:
        if hasattr(value, name):  # a field of a dataclass may have none
            force(made, name, arranged(getattr(value, name)))
    return made


def record_fields(value: object) -> tuple[str, ...]:
    """Name the fields of a record: a Struct, a dataclass, a class of attrs; of all else none."""
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tuple(field.name for field in dataclasses.fields(value))
    return tuple(field.name for field in getattr(type(value), "__attrs_attrs__", ()))


# -- JSON --------------------------------------------------------------------------------------------------------
encode: Final = msgspec.json.Encoder(enc_hook=writing).encode
"""Writes a value."""


def decode(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:  # noqa: ANN401  # what the decoder gives
    """Read what `encode` has written, floats that JSON does not know included."""
    if _MARK not in data:
        return decoder.decode(data)
    return msgspec.convert(_revived(msgspec.json.decode(data)), decoder.type, str_keys=True, dec_hook=reading)


def _revived(tree: Any) -> Any:  # noqa: ANN401  # JSON values
    if isinstance(tree, list):
        return [_revived(part) for part in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) == 1 and (name := str(tree.get(_FLOAT))) in _NAMES:
        return float(name)  # each NaN one of its own: a set tells them apart
    return {key: _revived(part) for key, part in tree.items()}


def same(one: Any, other: Any) -> bool:  # noqa: ANN401  # compares values of any type
    """Compare for the round trip: a NaN equals no other, and records without their own equality are compared by fields."""
    if _equal(one, other):
        return True
    if type(one) is not type(other):
        return False
    for base, alike in _ALIKE:
        if isinstance(one, base):
            return alike(one, other)
    codec = codec_of(type(one))
    if codec is not None:
        return codec.same(one, other)
    names = record_fields(one)
    return bool(names) and all(same(getattr(one, name), getattr(other, name)) for name in names)


def _same_members(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())


_ALIKE: Final[tuple[tuple[Any, Callable[[Any, Any], bool]], ...]] = (
    (list | tuple, lambda one, other: len(one) == len(other) and all(map(same, one, other))),
    (dict, _same_members),
    (set | frozenset, lambda one, other: _written(one) == _written(other)),
)


def _equal(one: Any, other: Any) -> bool:  # noqa: ANN401  # values of any type
    try:
        return bool(one == other) or (_is_nan(one) and _is_nan(other) and str(one) == str(other))
    except Exception:  # noqa: BLE001  # of arrays inside, or of the user
        return False


def _is_nan(value: object) -> bool:
    return isinstance(value, float | decimal.Decimal) and math.isnan(value)

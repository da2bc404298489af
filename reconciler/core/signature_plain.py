"""Turn a mere subclass of a type JSON carries into that type: a numpy number for a float, a text of the user's own.

Nothing of numpy or pandas is imported: their values are known by what they have.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
from collections.abc import Callable
from typing import Any, Final

SCALARS: Final = frozenset(
    {
        str,
        int,
        float,
        bool,
        type(None),
        bytes,
        bytearray,
        dt.datetime,
        dt.date,
        dt.time,
        dt.timedelta,
        decimal.Decimal,
    }
)
"""Classes every value of which msgspec writes as a scalar."""

_BASES: Final[tuple[tuple[type, Callable[[Any], object]], ...]] = (
    (str, str.__str__),
    (int, int.__index__),
    (float, float.__float__),
    (decimal.Decimal, decimal.Decimal),
    (dt.datetime, lambda value: dt.datetime.combine(value.date(), value.timetz())),
    (dt.timedelta, lambda value: dt.timedelta(value.days, value.seconds, value.microseconds)),
)
"""Classes whose subclasses fit where they are hinted, and how a value of the class itself is made."""


class Member(int):
    """A member of an enum of ints: msgspec accepts it for the enum, but JSON elsewhere does not carry it."""


def plain(value: Any) -> Any:  # noqa: ANN401  # any value
    """Replace values of a subclass (a numpy number, a text of your own) by equal values of the class itself."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if isinstance(value, dict):
        return {plain(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | set | frozenset):
        base = next(base for base in (list, set, frozenset) if isinstance(value, base))
        return base(map(plain, value))
    if isinstance(value, tuple):
        parts = [plain(part) for part in value]
        return kind._make(parts) if hasattr(kind, "_make") else tuple(parts)
    return _plain_leaf(value)


def _plain_leaf(value: Any) -> Any:  # noqa: ANN401  # any value
    if isinstance(value, enum.Enum):
        number = value.value
        return Member(number) if type(number) is int and not isinstance(value, int) else value
    if isinstance(value, Member):
        return value
    if getattr(getattr(value, "dtype", None), "kind", "") in {"b", "i", "u", "f"} and not getattr(
        value, "shape", None
    ):
        value = value.item()  # of numpy: a Python number, but for those of more than 8 bytes
    if type(value) in SCALARS:
        return value
    for base, made in _BASES:
        if isinstance(value, base):
            known = made(value)
            return known if known == value or known != known else value  # noqa: PLR0124  # NaN
    return value

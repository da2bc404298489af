"""Types msgspec does not know: a codec writes their values as JSON values and reads them back.

A codec is found by the name of a class it stands for, so nothing is imported here that the user's hints have not
imported: no numpy, no pandas, no pydantic.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final


class Codec:
    """A way to write and read the values of one family of classes. The base writes them as their text."""

    def problem(self, cls: type) -> str:
        """Say why a class cannot be carried, where it is declared; empty when it can. Continues "values of type …"."""
        del cls
        return ""

    def name(self, cls: type, name_of: Callable[[Any], str]) -> str:
        """Name the class in an interface: equal in every process, and different when the class changes its form.

        Args:
            cls: the hinted class.
            name_of: gives the name of a hint in it.
        """
        del name_of
        return cls.__qualname__.rpartition("<locals>.")[2]

    def admit(self, cls: type, value: Any) -> Any:  # noqa: ANN401  # whatever the caller gave
        """Check a value the caller gave for this class; return it as it will be written.

        Raises:
            ValueError: it is no such value.
        """
        if not isinstance(value, cls):
            raise ValueError(f"Expected `{cls.__name__}`, got `{type(value).__name__}`")  # noqa: TRY004  # for msgspec
        return value

    def write(self, value: Any) -> Any:  # noqa: ANN401  # a value of the class
        """Turn the value into JSON values.

        Raises:
            ValueError: it has no JSON form.
        """
        return str(value)

    def read(self, cls: type, data: Any) -> Any:  # noqa: ANN401  # JSON values
        """Read back the value that was written.

        Raises:
            ValueError: nobody writes this.
        """
        if not isinstance(data, str):
            raise ValueError(f"Expected `str`, got `{type(data).__name__}`")  # noqa: TRY004  # for msgspec
        return cls(data)

    def same(self, one: Any, other: Any) -> bool:  # noqa: ANN401  # a value of the class, and what was read
        """Tell whether a value has come back unchanged; asked where `==` and the types are not enough."""
        return str(one) == str(other)


_HERE: Final = "reconciler.core.signature_"
_CODECS: Final[dict[str, str]] = {
    "pathlib.PurePath": "codec.Codec",
    "fractions.Fraction": "codec.Codec",
    "zoneinfo.ZoneInfo": "codec.Codec",
    "ipaddress.IPv4Address": "codec.Codec",
    "ipaddress.IPv6Address": "codec.Codec",
    "ipaddress.IPv4Network": "codec.Codec",
    "ipaddress.IPv6Network": "codec.Codec",
    "pydantic.BaseModel": "models.Models",
    "numpy.ndarray": "arrays.Arrays",
    "numpy.generic": "arrays.Scalars",
    "pandas.DataFrame": "frames.PandasFrames",
    "pandas.Series": "frames.PandasSeries",
    "polars.DataFrame": "frames.PolarsFrames",
    "polars.Series": "frames.PolarsSeries",
}
"""Top package and name of a class, and the codec of it and its subclasses."""


def codec_of(cls: Any) -> Codec | None:  # noqa: ANN401  # a class; mypy takes `type[object]` for unhashable
    """Find the codec of a class, or None."""
    return _found(cls)


@lru_cache(maxsize=4096)
def _found(cls: type) -> Codec | None:
    for base in cls.__mro__:
        place = _CODECS.get(f"{base.__module__.partition('.')[0]}.{base.__qualname__}")
        if place is not None:
            module, _, name = place.partition(".")
            codec: Codec = getattr(importlib.import_module(_HERE + module), name)()
            return codec
    return None

"""Numpy arrays and scalars: arrays in numpy's own format, numbers as JSON numbers."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from reconciler.core.signature_codec import Codec

_PLAIN: Final = frozenset("biufU")
"""Kinds of dtypes whose values JSON carries: bool, signed, unsigned, float, text."""
_JSON: Final = (bool, int, float, str)

largest: ContextVar[int] = ContextVar("largest", default=0)
"""Bytes above which an array is refused before it is copied; 0: as many as there are."""


class Arrays(Codec):
    """`numpy.ndarray` and its generic forms, as `NDArray[numpy.float64]`; in C order, so that equal ones are equal bytes."""

    def problem(self, cls: type) -> str:
        """Refuse subclasses: they would come back as a plain array."""
        return "" if cls.__qualname__ == "ndarray" else "are no plain arrays: hint and give numpy.ndarray"

    def name(self, cls: type, name_of: Callable[[Any], str]) -> str:
        """Name the class as numpy's, with its parameters."""
        return f"numpy.{super().name(cls, name_of)}"

    def write(self, value: Any) -> Any:  # noqa: ANN401  # as the base
        """Write the array in numpy's own format, with its dtype and shape."""
        if value.dtype.hasobject:
            raise ValueError(
                f"an array of dtype {value.dtype} holds Python objects, which are not carried: give it a dtype of "
                "numbers or texts"
            )
        if 0 < largest.get() < value.nbytes:
            raise ValueError(
                f"an array of {value.nbytes} bytes is too large, {largest.get()} are allowed: store it yourself and return "
                "where it lies, or raise RECONCILER_MAX_OBJECT_SIZE"
            )
        data = io.BytesIO()
        numpy = sys.modules["numpy"]
        numpy.lib.format.write_array(data, numpy.asarray(value, order="C"), allow_pickle=False)
        return {"dtype": str(value.dtype), "shape": list(value.shape), "npy": to_text(data.getbuffer())}

    def read(self, cls: type, data: Any) -> Any:  # noqa: ANN401  # as the base
        """Read the array; pickled objects are refused, as they are programs."""
        del cls
        return sys.modules["numpy"].load(io.BytesIO(from_text(data, "npy")), allow_pickle=False)

    def same(self, one: Any, other: Any) -> bool:  # noqa: ANN401  # as the base
        """Compare the forms: numpy's format keeps the values bit by bit."""
        return bool(one.dtype == other.dtype and one.shape == other.shape)


class Scalars(Codec):
    """Concrete subclasses of `numpy.generic`: numbers and texts as JSON has them, others as an array without dimensions."""

    def problem(self, cls: type) -> str:
        """Refuse an abstract class such as `numpy.floating`, which does not say what is to come back."""
        try:
            sys.modules["numpy"].dtype(cls)
        except TypeError:
            return "are of no certain size: hint a concrete type, as numpy.float64"
        return "" if cls.__qualname__ not in {"object_", "void"} else "have no type of their own"

    def name(self, cls: type, name_of: Callable[[Any], str]) -> str:
        """Name the class as numpy's."""
        return f"numpy.{super().name(cls, name_of)}"

    def admit(self, cls: Any, value: Any) -> Any:  # noqa: ANN401  # as the base
        """Admit a scalar of the class, or a Python number of the same value."""
        if type(value) in _JSON and (made := cls(value)).dtype.kind in _PLAIN and made.item() == value:
            return made
        return super().admit(cls, value)

    def write(self, value: Any) -> Any:  # noqa: ANN401  # as the base
        """Write the scalar as a number, a text, or its bytes."""
        plain = value.item() if value.dtype.kind in _PLAIN else None
        return plain if type(plain) in _JSON else Arrays().write(sys.modules["numpy"].asarray(value))

    def read(self, cls: Any, data: Any) -> Any:  # noqa: ANN401  # as the base
        """Read the scalar."""
        return cls(data) if type(data) in _JSON else Arrays().read(cls, data)[()]

    def same(self, one: Any, other: Any) -> bool:  # noqa: ANN401  # as the base
        """Compare bit by bit, so that one NaN is different from another."""
        return bool(one.dtype == other.dtype and one.tobytes() == other.tobytes())


def to_text(data: bytes | memoryview) -> str:
    """Write bytes as base64."""
    return base64.b64encode(data).decode()


def from_text(data: object, name: str) -> bytes:
    """Read the bytes of a member that `to_text` has written.

    Raises:
        ValueError: there is no such member, or it is no base64.
    """
    text = data.get(name) if isinstance(data, Mapping) else None
    if not isinstance(text, str):
        raise ValueError(f"Expected an object with {name!r}")  # noqa: TRY004  # for msgspec
    return base64.b64decode(text, validate=True)

"""Frames and series of pandas and polars: as parquet, with their types and, for pandas, their index."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from reconciler.core.signature_arrays import from_text, to_text
from reconciler.core.signature_codec import Codec

_COLUMN = "values"
"""Name of the one column of a series while it lies in a frame."""


class Frames(Codec):
    """The base for frames of both libraries."""

    package = ""

    def problem(self, cls: type) -> str:
        """Refuse subclasses: they would come back as a plain frame."""
        if cls.__module__.partition(".")[0] != self.package:
            return f"are no plain frames: hint and give those of {self.package}"
        return ""

    def name(self, cls: type, name_of: Callable[[Any], str]) -> str:
        """Name the class as its library does."""
        return f"{self.package}.{super().name(cls, name_of)}"

    def _frame(self, data: Any) -> Any:  # noqa: ANN401  # a frame, of which we have no type
        return sys.modules[self.package].read_parquet(io.BytesIO(from_text(data, "parquet")))


class PandasFrames(Frames):
    """`pandas.DataFrame`."""

    package = "pandas"

    def problem(self, cls: type) -> str:
        """Refuse subclasses, and pandas without a library that writes parquet."""
        if not (find_spec("pyarrow") or find_spec("fastparquet")):
            return "are written as parquet, for which pandas needs another library: pip install pyarrow"
        return super().problem(cls)

    def write(self, value: Any) -> Any:  # noqa: ANN401  # as the base
        """Write the frame as parquet."""
        return {
            "rows": len(value),
            "columns": [str(name) for name in value.columns],
            "dtypes": [str(dtype) for dtype in value.dtypes],
            "index": str(value.index.dtype),
            "parquet": to_text(value.to_parquet()),
        }

    def read(self, cls: type, data: Any) -> Any:  # noqa: ANN401  # as the base
        """Read the frame from parquet."""
        del cls
        frame = self._frame(data)
        for place, dtype in enumerate(data.get("dtypes", ())):
            if _changed(frame.dtypes.iloc[place], dtype):
                frame.isetitem(place, frame.iloc[:, place].astype(dtype))
        if _changed(frame.index.dtype, data.get("index", "")):
            frame.index = frame.index.astype(data["index"])
        return frame

    def same(self, one: Any, other: Any) -> bool:  # noqa: ANN401  # as the base
        """Compare the written forms: values come back as parquet keeps them."""
        return bool(one.shape == other.shape)


def _changed(dtype: object, was: str) -> bool:
    """Tell whether parquet has changed the type: it has no times in whole seconds, and no categories without values."""
    return str(dtype) != was and (was.startswith("datetime64[s") or was == "category")


class PandasSeries(PandasFrames):
    """`pandas.Series`."""

    def write(self, value: Any) -> Any:  # noqa: ANN401  # as the base
        """Write the series as a frame of one column."""
        return super().write(value.to_frame(_COLUMN)) | {"columns": [value.name]}

    def read(self, cls: type, data: Any) -> Any:  # noqa: ANN401  # as the base
        """Read the series from a frame of one column."""
        return super().read(cls, data)[_COLUMN].rename(_only(data))


class PolarsFrames(Frames):
    """`polars.DataFrame`."""

    package = "polars"

    def write(self, value: Any) -> Any:  # noqa: ANN401  # as the base
        """Write the frame as parquet."""
        data = io.BytesIO()
        value.write_parquet(data)
        return {"rows": value.height, "columns": value.columns, "parquet": to_text(data.getbuffer())}

    def read(self, cls: type, data: Any) -> Any:  # noqa: ANN401  # as the base
        """Read the frame from parquet."""
        del cls
        return self._frame(data)

    def same(self, one: Any, other: Any) -> bool:  # noqa: ANN401  # as the base
        """Compare types and form; parquet keeps the values."""
        return bool(one.schema == other.schema and one.shape == other.shape)


class PolarsSeries(PolarsFrames):
    """`polars.Series`."""

    def write(self, value: Any) -> Any:  # noqa: ANN401  # as the base
        """Write the series as a frame of one column."""
        return super().write(value.alias(_COLUMN).to_frame()) | {"columns": [value.name]}

    def read(self, cls: type, data: Any) -> Any:  # noqa: ANN401  # as the base
        """Read the series from a frame of one column."""
        return super().read(cls, data)[_COLUMN].alias(_only(data))

    def same(self, one: Any, other: Any) -> bool:  # noqa: ANN401  # as the base
        """Compare as frames are compared."""
        return bool(one.dtype == other.dtype and one.shape == other.shape)


def _only(data: Any) -> Any:  # noqa: ANN401  # JSON values
    """Return the name of the one column, which is that of the series: anything in pandas, a text in polars."""
    (name,) = data["columns"]
    return name

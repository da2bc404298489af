"""Functions of the tests of types: models, arrays and frames, as programs write them."""

from __future__ import annotations

import dataclasses
import decimal
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pydantic

from reconciler import TaskEnvironment

env = TaskEnvironment("typed")


class Order(pydantic.BaseModel):
    """What a web service would pass on."""

    number: int = pydantic.Field(alias="orderNumber")
    price: decimal.Decimal
    tags: set[str] = set()


class Local(pydantic.BaseModel):
    """Valid in the process that made it alone."""

    process: int

    @pydantic.field_validator("process")
    @classmethod
    def is_here(cls, value: int) -> int:
        """Whether it is this process."""
        if value != os.getpid():
            raise ValueError(f"made by process {value}")
        return value


@dataclasses.dataclass
class Report:
    """A record that holds what writes itself."""

    table: pd.DataFrame
    orders: list[Order]
    where: Path


@env.task
def report(
    table: pd.DataFrame, weights: npt.NDArray[np.float64], *orders: Order, where: Path = Path("here")
) -> Report:
    """Something of each."""
    return Report(table.assign(weighted=table["value"] * weights), [*orders], where)


@env.task(cache="1")
def counted(orders: list[Order], book: str) -> pl.DataFrame:
    """Notes each call in a file."""
    with Path(book).open("a") as file:
        file.write("called\n")
    return pl.DataFrame({"price": [float(order.price) for order in orders]})


@env.task
def ratio(part: float, whole: float) -> float:
    """As numpy divides: NaN and infinity included."""
    with np.errstate(all="ignore"):
        return np.float64(part) / np.float64(whole)


@env.task(retries=3)
def zeros(size: int) -> npt.NDArray[np.float64]:
    """Of a size of choice."""
    return np.zeros(size)


@env.task(retries=3)
def unhinted():  # type: ignore[no-untyped-def]  # noqa: ANN201  # the point of the test
    """Gives what JSON does not know."""
    return {"a": (1, 2)}


@env.task(retries=3)
def local(value: Local) -> int:
    """Never runs: its argument is valid elsewhere alone."""
    return value.process


def declared_inside() -> Any:
    """Return a task no worker knows."""

    @env.task
    def inner() -> None: ...

    return inner

"""The inputs a fork changes: checked at the door, wherever they lie."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from reconciler import TaskEnvironment
from reconciler.api.errors import InvalidArguments
from reconciler.client import Run
from reconciler.client.fork_inputs import _plain_problem
from reconciler.stores.known import Found
from reconciler.testing import Lab
from worker.dashboard.buttons import Asked, buttons_of, press

pytestmark = pytest.mark.rule("R75")
env = TaskEnvironment("forking")


@env.task(redact="card")
def order(
    n: int, card: str = "", lines: list[dict[str, int]] | None = None, at: datetime | None = None
) -> str:
    """Order something."""
    return f"{n}{card[:1]}{len(lines or ())}{at.year if at else ''}"


@pytest.fixture
def lab() -> Lab:
    """The engine in memory."""
    made = Lab()
    env.client = made.client
    return made


@pytest.fixture(params=[0, 200_000], ids=["in the record", "in S3"])
def run(lab: Lab, request: pytest.FixtureRequest) -> Run[Any]:
    """A run that ended, with inputs here or there."""
    run = order.submit((1,), {"card": "4" * request.param})
    lab.work()
    assert (lab.get(run.action).spec.inputs is None) == bool(request.param)
    return run


WRONG = [
    ({"n": "x"}, r"Expected `int`, got `str` - at `\$.n`.*n: int"),
    ({"n": 1.5}, r"Expected `int`, got `float`"),
    ({"lines": [{"a": "b"}]}, r"Expected `int`, got `str` - at `\$.lines\[0\]\[...\]`"),
    ({"at": "yesterday"}, "datetime"),
    ({"card": None}, "Expected `str`, got `null`"),
]


@pytest.mark.parametrize(("values", "told"), WRONG)
def test_a_value_of_another_type_is_refused(
    lab: Lab, run: Run[Any], values: dict[str, Any], told: str
) -> None:
    """By its name and its type, and nothing is stored; so by the page of Flower."""
    with pytest.raises(InvalidArguments, match=told):
        run.fork(inputs={"a0": values})
    with pytest.raises(InvalidArguments, match=told):
        press("fork", Asked(lab.client, run.action, {"inputs": values}, "ada"))
    assert [summary.id for summary in lab.client.runs()] == [run.id]


def test_what_fits_runs(lab: Lab, run: Run[Any]) -> None:
    """Of the inputs that lie in S3, those that do not change are as they were."""
    made = run.fork(inputs={"a0": {"n": 7, "lines": [{"a": 1}], "at": "2026-11-28T00:00:00"}})
    lab.work()
    assert made.result() == f"7{run.result()[1:-1]}12026"


def test_without_a_worker_plain_types_are_known(
    lab: Lab, run: Run[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template names them; what only the code knows is left to the worker."""
    monkeypatch.setattr(lab.store, "find_published", lambda _: Found())
    with pytest.raises(InvalidArguments, match=r"Expected `int`, got `str` - at `\$.n`"):
        run.fork(inputs={"a0": {"n": "x"}})
    with pytest.raises(InvalidArguments, match=r"at `\$.at`"):
        run.fork(inputs={"a0": {"at": 7}})
    run.fork(inputs={"a0": {"lines": [{"a": "b"}]}})


def test_every_plain_type() -> None:
    """As JSON has them."""
    fits: dict[str, Any] = {
        "bool": True,
        "int": 1,
        "float": 1,
        "str": "a",
        "bytes": "YQ==",
        "None": None,
        "UUID": str(UUID(int=1)),
        "datetime": "2026-11-28T00:00:00Z",
        "date": str(date(2026, 11, 28)),
        "time": "07:00:00",
        "Decimal": str(Decimal("1.5")),
        "list[int]": [1],
        "dict[str, int]": {"a": 1},
        "int | None": None,
        "Order{n: int}": "whatever",
        "Literal['a'] | None": 7,
    }
    for kind, value in fits.items():
        assert _plain_problem({"v": kind}, {"v": value}) == "", kind
    for kind in (
        "bool",
        "int",
        "float",
        "str",
        "bytes",
        "UUID",
        "datetime",
        "date",
        "time",
        "dict[str, int]",
        "int | None",
    ):
        assert "at `$.v`" in _plain_problem({"v": kind}, {"v": ["x"]}), kind


@pytest.mark.parametrize("values", [{}, {"n": 1}])
def test_a_fork_that_changes_nothing_is_refused(lab: Lab, run: Run[Any], values: dict[str, Any]) -> None:
    """What is left out keeps its value; so an empty document is no change, and no run is named so."""
    with pytest.raises(InvalidArguments, match=r"would be what they were.*`reconciler rerun`"):
        run.fork(inputs={"a0": values})
    with pytest.raises(InvalidArguments, match="give one that differs"):
        press("fork", Asked(lab.client, run.action, {"inputs": values}, "ada"))
    assert [summary.id for summary in lab.client.runs()] == [run.id]
    (button,) = [one for one in buttons_of(lab.get(run.action)) if one["name"] == "fork"]
    assert "one that is left out keeps its value" in button["explains"]

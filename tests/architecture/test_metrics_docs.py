"""docs/operations.md lists exactly the metrics that there are, with their kinds and labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import metrics
from reconciler.instruments import Instruments
from worker import metrics as worker_metrics
from worker import standing

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
Row = tuple[str, str, tuple[str, ...]]


@pytest.fixture
def instruments(tmp_path: Path) -> Iterator[Instruments]:
    """The instruments as the program makes them."""
    metrics.enable(tmp_path)
    assert metrics._Process.instruments is not None
    yield metrics._Process.instruments
    metrics.disable()


def documented(text: str) -> list[Row]:
    """Name, kind and labels of each row of the table of metrics."""
    rows = text.partition("\n| metric |")[2].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [(c[0].strip("`"), c[1], tuple(re.findall(r"\w+", c[2]))) for c in cells if c[3]]


def registered(found: Instruments) -> list[Row]:
    """Return the same of the instruments, and of the gauges that are read at a scrape."""
    rows = [
        (one._name + ("_total" if one._type == "counter" else ""), str(one._type), tuple(one._labelnames))
        for one in found.all()
    ]
    [gauge] = worker_metrics.active_phases({"running": 1})
    read = [(name, "gauge", labels) for name, (_, labels) in standing.GAUGES.items()]
    return [*rows, (gauge.name, str(gauge.type), tuple(gauge.samples[0].labels)), *read]


def test_the_table_is_true(instruments: Instruments) -> None:
    """Every metric has its row, in order, with kind, labels and a meaning, and no row is without a metric."""
    assert documented(OPERATIONS) == registered(instruments)


@pytest.mark.parametrize(
    "word", ["reconciler_steps_total", "| histogram |", "`ended` |", "| reconcile steps begun |"]
)
def test_wrong_rows_are_seen(word: str, instruments: Instruments) -> None:
    """A wrong name, kind or label, and a missing meaning, are each reported."""
    head, mark, rest = OPERATIONS.partition("\n| metric |")
    assert word in rest
    spoilt = "| |" if "begun" in word else word.replace(word.strip("|` "), "other")
    assert documented(head + mark + rest.replace(word, spoilt, 1)) != registered(instruments)

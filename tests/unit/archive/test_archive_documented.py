"""docs/archive.md names all that stands in an object, and its examples read them."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler import TaskEnvironment
from reconciler.archive.fields import FIELDS
from reconciler.archive.index import Row
from reconciler.archive.layout import RUNS
from reconciler.archive.lines import Header
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab

TEXT = (Path(__file__).parents[3] / "docs" / "archive.md").read_text()
environment = TaskEnvironment("documented")


@environment.task()
def refuse(number: int) -> int:
    """Refuse even numbers."""
    if number % 2 == 0:
        raise ValueError(number)
    return number


NAMED = set(re.findall(r"`(\w+)`", TEXT))


@pytest.mark.rule("R42")
@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("a run", set(Header.__struct_fields__)),
        ("an action", {name for name, _ in FIELDS.values()}),
        ("the index", set(Row.__struct_fields__)),
    ],
)
def test_the_schema_is_documented(what: str, names: set[str]) -> None:
    """Whoever reads the objects with a tool of his own finds each name in the page."""
    assert sorted(names - NAMED) == [], what


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the archive in the working directory: three runs, one with errors and one with labels."""
    lab = Lab()
    environment.client = lab.client
    for number, name in enumerate(("first", "second", "third")):
        refuse.submit((number,), run=name, labels={"number": str(number)} if number else {})
        lab.work()
        lab.clock.advance(1)
    lab.clock.advance(timedelta(hours=2))
    collect(lab.store, lab.settings, lab.blobs)
    environment.client = None
    for one in lab.blobs.find(lab.blobs.uri(RUNS)):
        path = tmp_path / one.uri[one.uri.index("_archive/") :]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lab.blobs.get(one.uri))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("library", ["duckdb", "pandas"])
def test_other_tools_read_the_objects(library: str) -> None:
    """The examples of the page, as they stand there, list the last actions."""
    pytest.importorskip(library, reason=f"pip install {library}")
    [code] = [
        each for each in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if f"import {library}\n" in each
    ]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # of our own page
    last = names["last"] if library == "duckdb" else names["last"].itertuples(index=False)
    told = [(run, action, phase, ended.timestamp() > 0) for run, action, phase, ended in last]
    assert told == [
        ("third", "a0", "failed", True),
        ("second", "a0", "succeeded", True),
        ("first", "a0", "failed", True),
    ]

"""docs/archive.md names all that stands in an object."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.archive.fields import FIELDS
from reconciler.archive.index import Row
from reconciler.archive.lines import Header

TEXT = (Path(__file__).parents[3] / "docs" / "archive.md").read_text()
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

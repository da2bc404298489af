"""Names of lines: they can be read back whatever is in a fair key, and are of bounded length (R78, R81)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.line import RELAUNCH, Line, fair_key, read_line, weights_of

pytestmark = [pytest.mark.rule("R78"), pytest.mark.rule("R81")]
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=256)


@given(TEXTS, st.integers(0, RELAUNCH), st.booleans())
def test_a_name_can_be_read_back(text: str, level: int, alone: bool) -> None:  # noqa: FBT001  # drawn
    """Whatever is in the key: it parts no name, and makes none longer than a few hundred characters."""
    line = Line("gpu", level, alone, fair_key(text), "shop.f")
    assert read_line(line.name) == line
    assert len(line.name) < 100


@given(TEXTS, TEXTS)
def test_other_keys_have_other_names(one: str, other: str) -> None:
    """Two customers never share a turn because their names are long or strange."""
    assert (fair_key(one) == fair_key(other)) == (one == other)


@pytest.mark.parametrize("text", ["acme", "a b", "ada@example.org", "team:red", "a,b=c+d"])
def test_usual_keys_stand_as_they_are(text: str) -> None:
    """An operator who looks into Redis finds the names he knows."""
    assert fair_key(text) == text


def test_weights_are_found_by_the_key_of_a_line() -> None:
    """As they stand in the settings; a key that is not named is not there, and has 1."""
    assert weights_of(("etl=3", "a/b=0.5")) == {"etl": 3.0, fair_key("a/b"): 0.5}


def test_the_level_is_one_character() -> None:
    """So scripts find it without knowing the rest."""
    assert Line("q", RELAUNCH, alone=True, fair="p", function="f").name == "q/a!/p/f"

"""The one rule for names, at every door (R10)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.action import ActionId, RunId
from reconciler.api.errors import InvalidName
from reconciler.api.names import LIMITS, RULE, check_name

pytestmark = pytest.mark.rule("R10")
LETTERS = "abcXYZ019"
good = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,28}[A-Za-z0-9])?", fullmatch=True)


@given(good)
def test_a_name_that_keeps_the_rule_comes_back(name: str) -> None:
    """A good name is accepted for every part of an identity, unchanged."""
    for part in LIMITS:
        assert check_name(part, name) == name


@given(st.text(max_size=40))
def test_any_text_is_a_good_name_or_refused(text: str) -> None:
    """Exactly the texts that keep the rule are names; all others are refused, and nothing else is raised."""
    keeps = len(text) <= 30 and re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", text, re.ASCII)
    if keeps:
        assert check_name("run", text) == text
    else:
        with pytest.raises(InvalidName):
            check_name("run", text)


@given(good, st.sampled_from(":/{}*?[]\\ \t\n\r\x00%#é٣Ａ"), st.integers(0, 30))
def test_no_separator_gets_into_a_name(name: str, char: str, at: int) -> None:
    """A character that means something in a key, a path, a pattern or a URI is refused wherever it stands."""
    with pytest.raises(InvalidName):
        check_name("domain", name[:at] + char + name[at:])


@pytest.mark.parametrize(
    "name", [".", "..", "-", "_", "-a", "a-", ".a", "a.", "_a", "a_", "a\n", "\na", "a b"]
)
def test_ends_are_letters_or_digits(name: str) -> None:
    """A name starts and ends with a letter or a digit, so none is a path or an option."""
    with pytest.raises(InvalidName, match=re.escape(RULE)):
        check_name("run", name)


@pytest.mark.parametrize(("part", "limit"), list(LIMITS.items()))
def test_each_part_has_its_limit(part: str, limit: int) -> None:
    """The longest name is accepted, one character more is refused with both numbers."""
    assert check_name(part, "x" * limit)
    with pytest.raises(InvalidName, match=f"{part} has {limit + 1} characters, at most {limit} are allowed"):
        check_name(part, "x" * (limit + 1))


def test_a_limit_can_be_given() -> None:
    """Doors with a limit of their own say so."""
    assert check_name("queue", "x" * 5, 5)
    with pytest.raises(InvalidName, match="at most 4 are allowed"):
        check_name("queue", "x" * 5, 4)


def test_an_empty_name_is_refused() -> None:
    """No name at all is refused with what is allowed."""
    with pytest.raises(InvalidName, match="run must not be empty; allowed: 1 to 30 of letters"):
        check_name("run", "")


@pytest.mark.parametrize("name", [None, 1, b"run", ["run"]], ids=repr)
def test_only_text_is_a_name(name: object) -> None:
    """Anything but text is refused by its type."""
    with pytest.raises(InvalidName, match=f"run must be a string, got {type(name).__name__}"):
        check_name("run", name)


def test_a_huge_name_is_not_repeated() -> None:
    """The message about a name of a megabyte stays short."""
    with pytest.raises(InvalidName) as raised:
        check_name("run", "x" * 1_000_000)
    assert len(str(raised.value)) < 200


# -- identities --------------------------------------------------------------------------------------------------------
@given(good, good, good, good)
def test_an_identity_survives_its_path(project: str, domain: str, run: str, action: str) -> None:
    """Every valid identity reads back from how it is written (R9)."""
    found = ActionId(project, domain, run, action)
    assert ActionId.parse(str(found)) == found == found.checked()
    assert RunId.parse(str(found.run_id)) == found.run_id
    assert found.run_id.action(action) == found
    assert found.path == str(found)


@pytest.mark.parametrize(
    "path", ["", "a", "a/b/c", "a/b/c/d/e", "a//c/d", "a/b/c/", "/a/b/c", "a/b/c/..", "a/b/c/d "]
)
def test_another_path_is_no_action(path: str) -> None:
    """A path of other than four good names is refused."""
    with pytest.raises(InvalidName):
        ActionId.parse(path)


@pytest.mark.parametrize("path", ["", "a", "a/b", "a/b/c/d", "a//c", "a/b/.."])
def test_another_path_is_no_run(path: str) -> None:
    """A path of other than three good names is refused."""
    with pytest.raises(InvalidName):
        RunId.parse(path)

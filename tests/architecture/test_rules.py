"""Each rule of docs/rules.md stands once, is held by a test, and nothing cites a rule that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RULE = re.compile(r"\bR(\d{1,3})\b")
HEADING = re.compile(r"^\*\*R(\d+)\. ", re.MULTILINE)
ELSEWHERE = re.compile(r"\(spec \d|\bspec(?:ification)? \d+\.\d|\bW-\d\d\b|\bdesign \d\b|mark\.spec\b")
FOLDERS = ("reconciler", "worker", "tests", "benchmarks", "examples")


def sources(*folders: str) -> list[Path]:
    """Return files of code in these folders, less this one."""
    found = (
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".lua"}
    )
    return [path for path in found if path != Path(__file__)]


def cited(paths: list[Path]) -> dict[int, Path]:
    """Return rules that are named in files, each with one of them."""
    return {int(number): path for path in paths for number in RULE.findall(path.read_text())}


def rules() -> list[int]:
    """Return numbers of the rules, as they stand in the page."""
    return [int(number) for number in HEADING.findall((ROOT / "docs" / "rules.md").read_text())]


def test_rules_are_numbered_without_gaps() -> None:
    """Rules stand in the order of their numbers, none twice and none left out."""
    assert rules() == list(range(1, max(rules()) + 1))
    assert len(rules()) > 50


def test_whatever_is_cited_exists() -> None:
    """A rule named in code, in a test or within the page itself can be looked up."""
    named = cited([*sources(*FOLDERS), ROOT / "docs" / "rules.md", ROOT / "docs" / "lifecycle.md"])
    assert {number: str(path) for number, path in named.items() if number not in rules()} == {}


def test_each_rule_is_held_by_a_test() -> None:
    """No rule stands in the page alone."""
    assert sorted(set(rules()) - set(cited(sources("tests")))) == []


def test_nothing_cites_a_document_the_reader_does_not_have() -> None:
    """Rules are cited by their number in docs/rules.md and in no other way."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert [str(path) for path in [*sources(*FOLDERS), *pages] if ELSEWHERE.search(path.read_text())] == []

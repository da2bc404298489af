"""Prompts are Markdown without power: a tree of a few elements, whatever they say."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from reconciler.core.documents import Document
from worker.dashboard.markdown import LONGEST, read_markdown


def elements(tree: list[Document | str]) -> Iterator[Document]:
    """Yield all elements of a tree."""
    for one in tree:
        if not isinstance(one, str):
            yield one
            yield from elements(one["children"])


def plain(tree: list[Document | str]) -> str:
    """Return the text of a tree."""
    return "".join(one if isinstance(one, str) else plain(one["children"]) for one in tree)


def test_what_people_write_is_read() -> None:
    """Emphasis, lists, links, code, tables and headings, which stand below those of the page."""
    tree = read_markdown(
        "# Ship\n\n**now** `x` [order](https://a.example/1)\n\n- one\n- two\n\n|a|\n|-|\n|b|\n\n```\nrm\n```"
    )
    tags = [one["tag"] for one in elements(tree)]
    assert [
        tag for tag in ("h3", "strong", "code", "a", "ul", "li", "table", "td", "pre") if tag not in tags
    ] == []
    assert [one["href"] for one in elements(tree) if one["tag"] == "a"] == ["https://a.example/1"]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "[x](data:text/html,1)",
        "![x](https://evil.example/i.png)", '<https://a.example/"onmouseover=1>', "[x](JaVaScRiPt:alert(1))",
        "[x](  javascript&colon;alert(1))", "<svg/onload=alert(1)>", "[x](vbscript:1)", "[x](//evil.example)",
        "&lt;script&gt;",
    ],
)  # fmt: skip
def test_nothing_else_is(text: str) -> None:
    """HTML stays text, an image is none, and a link leads to the web or a mailbox."""
    for element in elements(read_markdown(text)):
        assert element["tag"] in {"p", "a", "span"}
        assert set(element) <= {"tag", "children", "href"}
        assert element.get("href", "https://").startswith(("https://", "mailto:"))
    assert "alert" not in text or "alert" in plain(read_markdown(text))


def test_whatever_it_is_it_is_read_in_time() -> None:
    """Deep, long and senseless texts too."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    noise = "".join(chance.choice("*_[]()<>`#>-|!\n \\ab1.") for _ in range(LONGEST))
    for text in ("> " * 5000 + "x", "[" * 20000, "*" * 20000, "- " * 9000, noise, "\x00\u202e", ""):
        read_markdown(text)
    assert len(plain(read_markdown("x" * 10**6))) == LONGEST

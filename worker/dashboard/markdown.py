"""Read Markdown into a tree of the few elements a page may show. The page builds its elements itself, never from HTML.

What is written as HTML stays text, and a link leads to `http`, `https` or `mailto` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from reconciler.core.documents import Document

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

LONGEST: Final = 20_000
"""Characters that are read; the rest is left out."""
_DEEPEST: Final = 20
_ELEMENTS: Final = frozenset(
    ("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "em", "strong", "s", "a", "hr", "br", "code",
     "pre", "table", "thead", "tbody", "tr", "th", "td")
)  # fmt: skip
_SCHEMES: Final = ("http://", "https://", "mailto:")
_LOWER: Final = {"h1": "h3", "h2": "h3"}
"""Headings of a text stand below those of the page."""


@cache
def _reader() -> MarkdownIt:
    from markdown_it import MarkdownIt  # noqa: PLC0415  # needed for a question alone

    options = {"html": False, "linkify": False, "maxNesting": _DEEPEST}
    return MarkdownIt("commonmark", options).enable(["table", "strikethrough"]).disable("image")


def read_markdown(text: str) -> list[Document | str]:
    """Read a text: each piece is text, or an element with `tag`, `children`, and for a link its `href`."""
    tokens = _reader().parse(text[:LONGEST])
    return _tree(tokens)


def _tree(tokens: Sequence[Token]) -> list[Document | str]:
    root: list[Document | str] = []
    open_: list[list[Document | str]] = [root]
    for token in tokens:
        if token.hidden:  # the paragraph of a line in a tight list
            continue
        if token.nesting < 0:
            if len(open_) > 1:
                open_.pop()
        elif token.nesting > 0:
            element = _element(token)
            open_[-1].append(element)
            open_.append(element["children"])
        else:
            open_[-1] += _leaf(token)
    return root


def _leaf(token: Token) -> list[Document | str]:
    if token.type == "inline":
        return _tree(token.children or [])
    if token.type in {"fence", "code_block"}:
        return [{"tag": "pre", "children": [token.content]}]
    if token.type == "code_inline":
        return [{"tag": "code", "children": [token.content]}]
    if token.type == "softbreak":
        return ["\n"]
    if token.tag in {"hr", "br"}:
        return [{"tag": token.tag, "children": []}]
    return [token.content] if token.content else []


def _element(token: Token) -> Document:
    tag = _LOWER.get(token.tag, token.tag)
    element: Document = {"tag": tag if tag in _ELEMENTS else "span", "children": []}
    if token.tag == "a":
        href = str(token.attrGet("href") or "")
        element |= {"href": href} if href.lower().startswith(_SCHEMES) else {"tag": "span"}
    return element

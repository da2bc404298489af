"""What the server is given of the Lua files: all that a verb needs, and no more."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from reconciler.stores.redis.scripts import VERBS, lean, script

COMMON = """-- Shared.
local base = ARGV[1]

-- Told to nobody.
local function low(n)
  return n
end
local function high(n) return low(n) end
local function other(n) return n end
"""


def test_only_what_a_verb_calls_is_sent() -> None:
    """Helpers a verb calls, directly or through another one, come with it; the others stay at home, as do comments."""
    text = lean(COMMON, "-- A verb.\nif base then\n  return high(1)\nend\n")
    assert [line for line in text.splitlines() if line] == [
        *("local base = ARGV[1]", "local function low(n)", "return n", "end"),
        "local function high(n) return low(n) end",
        *("if base then", "return high(1)", "end"),
    ]


def test_lines_keep_their_numbers() -> None:
    """A line of a verb is where the server says it is: behind all lines of the shared file."""
    verb = "-- A verb.\nreturn base\n"
    assert lean(COMMON, verb).splitlines()[COMMON.count("\n") + 1] == "return base"


@pytest.mark.parametrize("verb", VERBS)
def test_no_line_but_comments_is_lost(verb: str) -> None:
    """Of a verb's own file the server is given each line of code, and no comment that stands alone."""
    own = files("reconciler.stores.redis").joinpath("lua", f"{verb}.lua").read_text()
    code = [line.strip() for line in own.splitlines() if not re.match(r"\s*(--|$)", line)]
    sent = [line for line in script(verb).text.splitlines() if line]
    assert sent[-len(code) :] == code
    assert not [line for line in sent if line.startswith("--")]


def test_every_file_is_a_verb() -> None:
    """The list of verbs, which a server is given at once, is the list of files."""
    folder = files("reconciler.stores.redis").joinpath("lua")
    assert {entry.name for entry in folder.iterdir()} == {"common.lua"} | {f"{verb}.lua" for verb in VERBS}

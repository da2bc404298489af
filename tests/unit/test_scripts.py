"""What the server is given of the Lua files: all that a verb needs, and no more."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from reconciler.stores.redis.scripts import GOES_ON, VERBS, lean, script

COMMON = """-- Shared.
local base = ARGV[1]

-- Told to nobody.
local function low(n)
  return n
end
local function high(n) return low(n) end
local function other(n) return n end
"""


def test_only_what_a_verb_uses_is_sent() -> None:
    """What a verb uses, directly or through another part, comes with it; the rest stays at home, and comments."""
    text = lean(COMMON, "-- A verb.\nif base then -- at last\n  return high(1, 'a = b')\nend\n")
    assert text.splitlines() == [
        *("local base=ARGV[1]", "local function low(n)", "return n", "end"),
        "local function high(n)return low(n)end",
        *("if base then", "return high(1,'a = b')", "end"),
    ]


def source(verb: str) -> str:
    """Read the file of a verb, and those it goes on with."""
    folder = files("reconciler.stores.redis").joinpath("lua")
    return "".join(folder.joinpath(f"{name}.lua").read_text() for name in (verb, *GOES_ON.get(verb, ())))


@pytest.mark.parametrize("verb", VERBS)
def test_no_line_but_comments_is_lost(verb: str) -> None:
    """Of a verb's own file the server is given each line of code, blanks aside, and no comment."""
    own = source(verb)
    code = [re.sub(r" -- [^']*$", "", line) for line in own.splitlines() if not re.match(r"\s*(--|$)", line)]
    sent = script(verb).text.splitlines()
    bare = [re.sub(r"\s", "", line) for line in sent]
    assert bare[-len(code) :] == [re.sub(r"\s", "", line) for line in code]
    assert not [line for line in sent if "--" in line]


@pytest.mark.parametrize("verb", VERBS)
def test_texts_keep_their_blanks(verb: str) -> None:
    """What stands in quotes is sent as it is written."""
    own = source(verb)
    code = "\n".join(line for line in own.splitlines() if not re.match(r"\s*--", line))
    texts = re.findall(r"'[^']*'", code)
    assert texts == re.findall(r"'[^']*'", script(verb).text)[-len(texts) :] or not texts


def test_every_file_is_a_verb() -> None:
    """The list of verbs, which a server is given at once, is the list of files."""
    folder = files("reconciler.stores.redis").joinpath("lua")
    assert {entry.name for entry in folder.iterdir()} == {"common.lua"} | {f"{verb}.lua" for verb in VERBS}

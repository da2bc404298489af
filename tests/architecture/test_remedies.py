"""Errors name a way out: each text that is raised says what to do, what is allowed, or what is expected."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from reconciler.api import errors
from reconciler.cli import main

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("reconciler", "worker") for path in (ROOT / package).rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OURS = {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
}
WAY_OUT = re.compile(
    r"(?i)\b(must|may only|allowed|at most|at least|only|expected|expects|instead of|allows?|needs?|declare[sd]?|there are|"
    r"can be had|say more|refer|answer|watch|pass|"
    r"add|abort|ask|build|call|check|choose|correct|delete|end|free|get|give|increase|install|keep|leave|let|look|lower|make|"
    r"mend|move|name|open|pass|pick|put|raise|read|remove|rename|repeat|report|restart|return|run|see|send|set|shorten|split|"
    r"start|stop|store|submit|take|tell|try|turn|upgrade|use|wait|write)\b"
)
"""Words of a sentence that tells what to do or what would have been right."""
_LIST = "begins a list; each of its parts is a sentence of its own, with a remedy"
_INSIDE = "told to a step, which stops quietly; nobody has to do anything"
_NEXT = "there is none here: the next place is asked, and who finds none at all is told what to do"
_FLYTE = "the text of Flyte, which programs may compare; the cause behind it says what is wrong"
LEAVE = {
    "action X cannot be accepted: ": _LIST,
    "this task cannot be cached: ": _LIST,
    "an annotation X": _LIST,
    "X: X. Its signature is XX.": "the problem it holds names what is expected, and the signature shows it",
    "X: the hint of parameter X cannot be used: X. X.": "its last part is the advice for the type",
    "Redis at X X": "its second part is the refusal with its remedy (core/refusals.py)",
    "Redis at X failed: X: X": "an error nobody has seen yet; the text of the server is all there is",
    "the broker refuses it (X)": "the broker's own text; the forwarder says what happens to the event",
    "another step holds X; it will be looked at again when that step ends": _INSIDE,
    "X has ended; nothing of it can change any more": _INSIDE,
    "X is held by a newer claim, or its launch has changed hands; nothing was written": _INSIDE,
    "X was signalled with another value before; the first one stands": "nothing can be done: that is the promise",
    "the inputs hold no X, which echo was to copy": "the input it names is the one to add",
    'secrets are not supported by the executor\'s no-op secret manager, cannot resolve "X"': _FLYTE,
    "failed to decode resource meta: X": _FLYTE,
    "failed to decode plugin state: X": _FLYTE,
    "the environment of the worker has no variable X": _NEXT,
    "there is no file X": _NEXT,
    "AWS Secrets Manager has no X": _NEXT,
}
"""Texts without one, each with the reason."""


def texts(node: ast.expr) -> Iterator[str]:
    """Yield the constant parts of an argument, names of variables as `X`; nothing when it is made elsewhere."""
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(v.value if isinstance(v, ast.Constant) else "X" for v in values)  # type: ignore[misc]  # constants of an f-string are texts
        case ast.BinOp(left=left, right=right):
            yield "".join([*texts(left), *texts(right)])
        case ast.List(elts=elts) | ast.Tuple(elts=elts):
            for each in elts:
                yield from texts(each)


def raised(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each error of ours that is raised with a text of its own."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Raise)
            and isinstance(node.exc, ast.Call)
            and isinstance(node.exc.func, ast.Name)
        ) and node.exc.func.id in OURS:
            for argument in node.exc.args:
                yield from ((node.lineno, text) for text in texts(argument) if len(text.split()) > 2)


def helpless(source: str) -> list[str]:
    """Return texts that leave their reader alone."""
    return [
        f"{line}: {text}" for line, text in raised(source) if not WAY_OUT.search(text) and text not in LEAVE
    ]


def test_every_error_names_a_way_out() -> None:
    """As far as a machine can see."""
    found = [f"{path.relative_to(ROOT)}:{text}" for path in SOURCES for text in helpless(path.read_text())]
    assert found == []


def test_texts_are_found() -> None:
    """The test above looks at something, and no exception from it is out of date."""
    every = [text for path in SOURCES for _, text in raised(path.read_text())]
    assert len(every) > 100
    assert set(every) >= LEAVE.keys()


@pytest.mark.parametrize(
    ("text", "found"), [("the thing is broken by now", 1), ("the thing is broken: mend it", 0), ("broken", 0)]
)
def test_helpless_texts_are_seen(text: str, found: int) -> None:
    """A sentence that only complains is reported; a code or a name is no sentence."""
    assert len(helpless(f'raise InvalidSpec(f"{text}")')) == found


# -- commands that texts name ------------------------------------------------------------------------------------------
COMMAND = re.compile(r"`reconciler ([a-z][^`]*)`")


def named(source: str) -> Iterator[str]:
    """Yield the commands of the command line that a text of a program names, names of variables as `5`."""
    tree = ast.parse(source)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(v.value) if isinstance(v, ast.Constant) else _shown(v) for v in node.values)
        yield from COMMAND.findall(text)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "command":  # `cli.local.command`
            parts = [str(part.value) for part in node.args if isinstance(part, ast.Constant)]
            if parts and len(parts) == len(node.args):
                yield " ".join(parts)


def _shown(value: ast.expr) -> str:
    return "" if isinstance(value, ast.FormattedValue) and ast.unparse(value.value) == "options" else "5"


FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"^\$ (?:\S*/)?reconciler ([a-z].*?)(?: [|>].*)?(?:\s+#.*)?$", re.MULTILINE)


def shown(page: str) -> list[str]:
    """List the commands a page shows, in its sentences and in its console blocks."""
    blocks = [match[2] for match in FENCE.finditer(page) if match[1] == "console"]
    in_sentences = COMMAND.findall(" ".join(FENCE.sub("", page).split()))
    return in_sentences + [call for block in blocks for call in CALL.findall(block)]


def problem_of(words: str) -> str:
    """Return what is missing of a command, or not known; one without arguments only names it."""
    command: click.Command | None = main
    context = click.Context(main, info_name="reconciler")
    left = shlex.split(words)
    while isinstance(command, click.Group) and left and not left[0].startswith("-"):
        command = command.get_command(context, left.pop(0))
    if command is None:
        return f"{words}: there is no such command"
    if not left or "…" in left:
        return ""
    try:
        command.make_context(words, left, parent=context)
    except click.UsageError as error:
        other = isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter)
        return "" if other else f"{words}: {error.format_message()}"
    return ""


def test_commands_that_texts_name_can_be_typed() -> None:
    """Whoever types what an error recommends is not told that something is missing."""
    words = {each for path in SOURCES for each in named(path.read_text())}
    assert len(words) > 30
    assert [told for each in sorted(words) if (told := problem_of(each))] == []


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_commands_that_pages_show_can_be_typed(page: Path) -> None:
    """A reader who copies a command has all its arguments; one that is only named has none."""
    assert [told for each in shown(page.read_text()) if (told := problem_of(each))] == []


def test_commands_of_a_page_are_found() -> None:
    """In a sentence, also over the end of a line, and behind a prompt, up to a pipe or a remark."""
    console = "$ .venv/bin/reconciler abort RUN   # no reason\n$ reconciler list --json | jq .\n"
    page = f"`reconciler get\nRUN` says it.\n\n```console\n{console}```\n"
    assert shown(page) == ["get RUN", "abort RUN", "list --json"]
    assert [bool(problem_of(each)) for each in shown(page)] == [False, True, False]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("abort RUN", "Missing option '--reason'"),
        ("abort RUN --reason WHY", ""),
        ("rerun", ""),
        ("queue limit fast", "Missing argument"),
        ("recover RUN --fast", "No such option"),
        ("revive RUN", "no such command"),
    ],
)
def test_commands_that_cannot_be_typed_are_seen(words: str, told: str) -> None:
    """An option that is needed, or that there is not."""
    assert told in problem_of(words)
    assert bool(told) == bool(problem_of(words))

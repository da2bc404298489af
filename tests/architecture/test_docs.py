"""The documents say what is so: settings, commands, log events, links, words, and every example of docs/testing.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest

from reconciler.api.phase import TRANSITIONS, ActionPhase
from reconciler.settings import PREFIX, Settings
from reconciler.testing import Lab

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")

Row = tuple[str, ...]


def prose(text: str) -> str:
    """Return a page without its code."""
    return CODE.sub("", FENCE.sub("", text))


def blocks(text: str, language: str) -> list[tuple[int, str]]:
    """Return the fenced blocks of a language, each with the number of its first line."""
    found = [match for match in FENCE.finditer(text) if match[1] == language]
    return [(text[: match.start(2)].count("\n") + 1, match[2]) for match in found]


def table(text: str, first: str) -> list[Row]:
    """Return the rows of the table whose header starts with the cell `first`."""
    head, mark, rest = text.partition(f"\n| {first} |")
    assert mark, f"there is no table that starts with {first!r} in {head[:40]!r}"
    lines = rest.split("\n\n", 1)[0].splitlines()[2:]
    return [tuple(cell.strip() for cell in line.strip("|").split(" |")) for line in lines]


# -- settings --------------------------------------------------------------------------------------------------------


def wrong_settings(rows: list[Row]) -> list[str]:
    """What a table of settings says wrongly; the defaults are read as the program reads variables."""
    hints = get_type_hints(Settings)
    wanted = [f"`{PREFIX}{field.upper()}`" for field in Settings.__struct_fields__]
    named = [row[0] for row in rows]
    if named != wanted:
        return [f"rows are {sorted(set(named) ^ set(wanted))} off, or not in the order of the fields"]
    found = []
    for name, default, unit, meaning in rows:
        variable = name.strip("`")
        field = variable.removeprefix(PREFIX).lower()
        text = default.strip("`")
        read = getattr(Settings.from_env({variable: text}), field)
        if read != getattr(Settings(), field):
            found.append(f"{variable}: the default is not {text!r}")
        if unit not in UNITS[str(getattr(hints[field], "__name__", hints[field]))]:
            found.append(f"{variable}: the unit of a {hints[field]} is not {unit!r}")
        if not meaning:
            found.append(f"{variable}: no meaning is given")
    return found


UNITS = {
    "timedelta": {"duration"},
    "bool": {"true or false"},
    "int": {"count", "bytes", "port"},
    "str": {"URL", "name", "text"},
    "tuple": {"list"},
    "Literal": {"choice"},
}


def settings_rows() -> list[Row]:
    """Return the table of docs/operations.md."""
    return table((DOCS / "operations.md").read_text(), "variable")


def test_settings_table_is_true() -> None:
    """docs/operations.md names every setting, in order, with the default that is in force and its unit."""
    assert wrong_settings(settings_rows()) == []


@pytest.mark.parametrize(
    ("column", "text"), [(0, "`RECONCILER_SHARD`"), (1, "`17`"), (2, "duration"), (3, "")]
)
def test_wrong_settings_are_seen(column: int, text: str) -> None:
    """A wrong name, default or unit, and a missing meaning, are each reported."""
    rows = settings_rows()
    index = Settings.__struct_fields__.index("shards")
    rows[index] = (*rows[index][:column], text, *rows[index][column + 1 :])
    assert wrong_settings(rows)


def test_settings_named_anywhere_exist() -> None:
    """No page names a variable that the programs would refuse."""
    named = {name for page in PAGES for name in re.findall(rf"{PREFIX}[A-Z0-9_]*[A-Z0-9]", page.read_text())}
    assert {name.removeprefix(PREFIX).lower() for name in named} <= set(Settings.__struct_fields__)


# -- log events ------------------------------------------------------------------------------------------------------


LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def log_calls(source: str) -> Iterator[Row]:
    """Event and level of each `log.…("event")` of a source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            logger, words = node.func.value, node.args
            constant = words and isinstance(words[0], ast.Constant) and isinstance(words[0].value, str)
            logs = isinstance(logger, ast.Name) and logger.id == "log" and node.func.attr in LEVELS
            if logs and constant:
                level = "error" if node.func.attr == "exception" else node.func.attr
                yield f"`{words[0].value}`", level  # type: ignore[attr-defined]  # a constant, see above


def test_log_events_are_listed() -> None:
    """docs/operations.md lists exactly the events the packages log, with their levels."""
    sources = [path for package in ("reconciler", "worker") for path in (ROOT / package).rglob("*.py")]
    logged = {call for path in sources for call in log_calls(path.read_text())}
    assert len(logged) > 20
    assert {row[:2] for row in table((DOCS / "operations.md").read_text(), "event")} == logged


# -- the picture -----------------------------------------------------------------------------------------------------


def test_picture_shows_the_transitions() -> None:
    """The diagram of docs/lifecycle.md and the list below it show all legal moves, each once and each lettered one told."""
    text = (DOCS / "lifecycle.md").read_text()
    (_, picture), *others = blocks(text, "mermaid")
    drawn = re.findall(r"^    (\S+) --> (\S+): (\w)$", picture, re.MULTILINE)
    listed = [(row[0], to) for row in table(text, "from") for to in row[1].split(", ")]
    moves = {(str(phase), str(to)) for phase, targets in TRANSITIONS.items() for to in targets}
    assert not others
    assert sorted([*((a, b) for a, b, _ in drawn), *listed]) == sorted(moves | {("[*]", "queued")})
    assert [letter for _, _, letter in drawn] == [row[0] for row in table(text, "edge")]
    reached = {
        ActionPhase.QUEUED,
        ActionPhase.RECOVERED,
        *(to for targets in TRANSITIONS.values() for to in targets),
    }
    described = {name for row in table(text, "phase") for name in row[0].split(", ")}
    assert described == {str(phase) for phase in reached}


# -- links -----------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Return names of the headings of a page, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.replace("`", "").lower()).replace(" ", "-") for head in heads}


def broken_links(page: Path, text: str) -> list[str]:
    """Return links of a page that lead nowhere on this tree."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file or a heading of this tree has a target."""
    assert broken_links(page, page.read_text()) == []


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_pages_say_for_whom_they_are(page: Path) -> None:
    """A reader knows after half a sentence whether to read on."""
    assert page.read_text().split("\n\n")[1].startswith("For ")


def test_readme_leads_to_every_page() -> None:
    """A page of docs/ that README.md does not name is found by nobody."""
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in DOCS.glob("*.md") if f"](docs/{page.name})" not in readme] == []


OF_USERS = {"json.py", "types.py", "queue.py", "worker.py"}
"""Files of a user that pages warn of."""


def missing_files(text: str) -> list[str]:
    """Return sources and folders that a page names and this tree does not have, by their path or the end of it."""
    named = re.findall(r"`([\w./-]+\.(?:py|lua))`", FENCE.sub("", text))
    named += re.findall(r"`((?:reconciler|worker|tests|deploy|benchmarks)/[\w./-]+)`", FENCE.sub("", text))
    return [
        name
        for name in named
        if name not in OF_USERS and not any(f"/{path}".endswith(f"/{name.rstrip('/')}") for path in TREE)
    ]


TREE = [
    str(path.relative_to(ROOT))
    for folder in ("reconciler", "worker", "tests", "deploy", "benchmarks", "examples", "docker")
    for path in (ROOT / folder).rglob("*")
] + [path.name for path in ROOT.glob("*.py")]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_pages_name_exist(page: Path) -> None:
    """Whoever looks for a module that a page names finds it."""
    assert missing_files(page.read_text()) == []


def left_out(package: Path) -> list[str]:
    """Return the modules that the list in a package's docstring leaves out; nothing where there is no list."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    named = set(re.findall(r"\b(\w+\.py)\b", text))
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    return sorted(modules - named) if len(named & modules) > 2 else []


def test_lists_of_modules_are_whole() -> None:
    """A package that lists its modules lists all of them: what is left out looks as if it were not there."""
    packages = [
        path.parent for path in [*ROOT.glob("reconciler/**/__init__.py"), *ROOT.glob("worker/**/__init__.py")]
    ]
    assert {str(path.relative_to(ROOT)): found for path in packages if (found := left_out(path))} == {}


def test_a_module_left_out_of_a_list_is_seen(tmp_path: Path) -> None:
    """Where three are named, a fourth has to be."""
    for name in ("a.py", "b.py", "c.py", "d.py"):
        (tmp_path / name).touch()
    (tmp_path / "__init__.py").write_text('"""a.py, b.py and c.py."""\n')
    assert left_out(tmp_path) == ["d.py"]


def test_missing_files_are_seen() -> None:
    """A file and a folder that have moved are reported, by their whole path and by its end."""
    assert missing_files(
        "`round.py`, `controller/round.py`, `round2.py`, `reconciler/moved/`, `worker/runner/`"
    ) == [
        "round2.py",
        "reconciler/moved/",
    ]


@pytest.mark.parametrize("link", ["nowhere.md", "#no-such-heading", "README.md#no-such-heading"])
def test_broken_links_are_seen(link: str) -> None:
    """A link to a missing file or heading is reported."""
    assert broken_links(ROOT / "CHANGELOG.md", f"[x]({link})") == [link]


def test_decisions_are_numbered() -> None:
    """Decisions are numbered without gaps, each under its number as title."""
    pages = sorted((DOCS / "decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{n:04}" for n in range(1, len(pages) + 1)]
    assert [page.name for page in pages if not page.read_text().startswith(f"# {page.name[:4]}: ")] == []


# -- commands --------------------------------------------------------------------------------------------------------


def commands(text: str) -> list[list[str]]:
    """Return the words behind `reconciler`, for each call a page shows, in console blocks and in the text."""
    lines = [line for _, block in blocks(text, "console") for line in block.splitlines()]
    lines += [f"$ {code.strip('`')}" for code in CODE.findall(FENCE.sub("", text))]
    found = []
    for line in lines:
        call = re.match(r"\$ (?:\S*/)?reconciler (.+)", re.sub(r"\s#.*", "", line))
        if call:
            found += [part.split() for part in call[1].split(" | ")]
    return found


def unknown_commands(text: str) -> list[str]:
    """Return commands and options a page shows and the program does not have."""
    from reconciler.cli import main  # noqa: PLC0415  # the other tests need no command

    context = click.Context(main)
    found = []
    for name, *words in commands(text):
        command = main.get_command(context, name)
        if command is None:
            found.append(name)
            continue
        params = list(command.params)
        if isinstance(command, click.Group):
            below = [command.get_command(context, word) for word in words if not word.startswith("-")]
            params += [parameter for one in below if one is not None for parameter in one.params]
        options = {option for parameter in params for option in parameter.opts}
        found += [f"{name} {word}" for word in words if word.startswith("--") and word not in options]
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist(page: Path) -> None:
    """Each `reconciler` command and option that is shown can be typed."""
    assert unknown_commands(page.read_text()) == []


def test_readme_shows_the_commands() -> None:
    """README.md shows what people start with."""
    shown = {name for name, *_ in commands((ROOT / "README.md").read_text())}
    assert {"dev", "submit", "list", "get", "watch", "events", "result", "logs", "abort", "doctor"} <= shown


def test_unknown_commands_are_seen() -> None:
    """A command and an option that do not exist are reported."""
    text = "```console\n$ .venv/bin/reconciler list | frob RUN   # all\n```\n`reconciler doctor --frob`"
    text += "\n`reconciler bulk rerun --task t` `reconciler bulk rerun --reason r`"
    assert unknown_commands(text) == ["frob", "doctor --frob", "bulk --reason"]


# -- words -----------------------------------------------------------------------------------------------------------

FOREIGN = {
    r"jobs?": "action, or attempt",
    r"cancel(s|l?ed|l?ing|lation)?": "abort",
    r"executions?": "attempt, or run",
}
"""Words of other systems, and ours for the same thing (docs/glossary.md)."""


def foreign_words(text: str) -> list[str]:
    """Foreign words in the prose of a page; names and quotations of others may keep theirs."""
    own = re.sub(r"\"[^\"\n]*\"|\]\([^)]*\)", "", prose(text))
    return [match[0] for word in FOREIGN for match in re.finditer(rf"\b{word}\b", own, re.IGNORECASE)]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_one_word_for_one_thing(page: Path) -> None:
    """Pages use the words of the glossary."""
    assert foreign_words(page.read_text()) == []


def test_foreign_words_are_seen() -> None:
    """A foreign word is reported, in code and in quotes it is let pass."""
    assert foreign_words('Jobs were cancelled. "A job." `job`\n```python\njob\n```\n') == [
        "Jobs",
        "cancelled",
    ]


# -- examples --------------------------------------------------------------------------------------------------------

EXAMPLES = blocks((DOCS / "testing.md").read_text(), "python")


@pytest.mark.parametrize(("line", "source"), EXAMPLES, ids=[f"line {line}" for line, _ in EXAMPLES])
def test_examples_of_the_testing_kit_run(line: int, source: str) -> None:
    """Each example of docs/testing.md stands alone, and its tests pass."""
    space: dict[str, Any] = {"__name__": f"docs_testing_{line}"}
    code = compile("\n" * (line - 1) + source, str(DOCS / "testing.md"), "exec")
    exec(code, space)  # noqa: S102  # our own pages
    tests = [value for name, value in space.items() if name.startswith("test_")]
    assert tests, "the example tests nothing"
    assert re.search(r"^ +assert ", source, re.MULTILINE)
    for test in tests:
        test()


def test_parts_of_a_lab_are_there() -> None:
    """What the text of docs/testing.md names of a lab can be had of one: examples alone do not tell."""
    named = set(re.findall(r"`lab\.([a-z_.]+)", FENCE.sub("", (DOCS / "testing.md").read_text())))
    lab = Lab()
    assert "store.launches_waiting" in named
    for path in named:
        attrgetter(path)(lab)


def test_durations_are_shown_as_they_are_written() -> None:
    """The defaults of durations in docs/operations.md have a unit, not bare seconds."""
    durations = [row[1] for row in settings_rows() if row[2] == "duration"]
    assert [text for text in durations if not re.fullmatch(r"`\d+(ms|s|m|h|d)`", text)] == []
    assert len(durations) == sum(
        isinstance(getattr(Settings(), f), timedelta) for f in Settings.__struct_fields__
    )

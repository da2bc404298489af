"""The rules of the house that no linter knows: each is a function from a source to its offences.

Every rule is tried twice: on the tree, which must be clean, and on a planted offence, which must be seen.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES = 400
FUNCTION_LINES = 60
ROOM_LINES = 300
PAGE_LINES = 200
STEP_LINES = 40
MEDIAN_LINES = 5
BASES = {"Protocol", "msgspec.Struct", "NamedTuple", "int", "ReconcilerError", "PluginError"}

Offences = Iterator[tuple[int, str]]
"""Line and what is wrong there."""
Rule = Callable[[str], Offences]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_files(source: str) -> Offences:
    """A file is read in one sitting."""
    if source.count("\n") > FILE_LINES:
        yield FILE_LINES, f"the file is longer than {FILE_LINES} lines"


def long_rooms(source: str) -> Offences:
    """A room of the controller is read in one go."""
    if source.count("\n") > ROOM_LINES:
        yield ROOM_LINES, f"the file is longer than {ROOM_LINES} lines"


def long_pages(source: str) -> Offences:
    """A page of the manual is about one thing, and needs no other page."""
    if source.count("\n") > PAGE_LINES:
        yield PAGE_LINES, f"the file is longer than {PAGE_LINES} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("test_"):
            yield node.lineno, "imports another test"


def inherits(source: str) -> Offences:
    """A class of the controller has its helpers and is none of them: it derives from records, protocols and errors alone."""
    for node in ast.walk(ast.parse(source)):
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            if ast.unparse(base) not in BASES:
                yield (
                    node.lineno,
                    f"{node.name} inherits from {ast.unparse(base)}: give it one, or take functions",
                )


def long_functions(source: str) -> Offences:
    """A function fits on a screen."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function) and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES:
            yield node.lineno, f"{node.name} is longer than {FUNCTION_LINES} lines"


def bodies(source: str) -> Iterator[tuple[Function, int]]:
    """Yield the functions of a source with the lines of their bodies, without docstrings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node, (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def long_steps(source: str) -> Offences:
    """A function of the controller does one thing."""
    for node, lines in bodies(source):
        if lines > STEP_LINES:
            yield node.lineno, f"the function has more than {STEP_LINES} lines"


def undocumented(source: str, but: frozenset[str] = frozenset()) -> Offences:
    """What others may use says what it means; methods too, but not overloads, setters and empty files."""
    module = ast.parse(source)
    if module.body and ast.get_docstring(module) is None:
        yield 1, "the module has no docstring"
    for node in public(module):
        if ast.get_docstring(node) is None and node.name not in but:
            yield node.lineno, f"{node.name} has no docstring"


def undocumented_in_a_store(source: str) -> Offences:
    """What a store adds to its protocol says what it means; a verb's promise stands in the protocol, once."""
    return undocumented(source, verbs())


@cache
def verbs() -> frozenset[str]:
    """Return the methods of the protocols that stores implement."""
    named = (node for path in files("reconciler/stores/*.py") for node in ast.parse(path.read_text()).body)
    protocols = [
        node
        for node in named
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
    ]
    managers = ast.parse((ROOT / "reconciler/plugins/managers.py").read_text()).body
    protocols += [
        node for node in managers if isinstance(node, ast.ClassDef) and node.name == "ResourceManager"
    ]
    return frozenset(node.name for protocol in protocols for node in public(protocol))


def public(scope: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | Function]:
    """Public classes and functions of a scope, with those inside of the classes."""
    for node in scope.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            if any(name.endswith(("overload", ".setter", ".deleter")) for name in decorators):
                continue
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


def unexplained_exceptions(source: str) -> Offences:
    """A checker is silenced for one rule, with the reason beside it."""
    directive = re.compile(r"type: ignore(\[[a-z, -]+\])?|noqa(: ?[A-Z]+\d+(, ?[A-Z]+\d+)*)?")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        found = list(directive.finditer(token.string)) if token.type == tokenize.COMMENT else []
        if any(match[1] is None and match[2] is None for match in found):
            yield token.start[0], "names no rule: write ignore[code] or noqa: CODE"
        elif found and not re.search(r"\w{2}", directive.sub("", token.string)):
            yield token.start[0], "gives no reason: add `# why`"


def prints(source: str) -> Offences:
    """A library logs; only the command line prints."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno, "prints"


def unfinished(source: str) -> Offences:
    """What is committed is finished."""
    words = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
    for number, line in enumerate(source.splitlines(), 1):
        if words.search(line):
            yield number, "is marked as unfinished"


def sleeps(source: str) -> Offences:
    """A test waits for a condition, with a deadline."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep":
            yield node.lineno, "sleeps"
        if isinstance(node, ast.ImportFrom) and node.module == "time" and imports(node, "sleep"):
            yield node.lineno, "sleeps"


def mocks(source: str) -> Offences:
    """A test uses the real server or the twin that passes the same conformance suite."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and imports(node, "mock", "unittest.mock"):
            yield node.lineno, "imports a mock"
        if isinstance(node, ast.ImportFrom):
            named = node.module in {"mock", "unittest.mock"}
            if named or (node.module == "unittest" and imports(node, "mock")):
                yield node.lineno, "imports a mock"


def imports(node: ast.Import | ast.ImportFrom, *names: str) -> bool:
    """Whether one of these names is imported."""
    return any(alias.name in names for alias in node.names)


def without_legend(source: str) -> Offences:
    """A script opens with what its KEYS and ARGV are."""
    legend = re.match(r"(--.*\n)*", source)
    if legend is None or "KEYS" not in legend[0] or "ARGV" not in legend[0]:
        yield 1, "opens without a legend of KEYS and ARGV"


def nameless(source: str) -> Offences:
    """A script gives a name to each field it fetches, and says where the fields of a record are told."""
    for number, line in enumerate(source.splitlines(), 1):
        if re.search(r"\b(?!ARGV|KEYS)\w+\[([3-9]|\d\d+)\]", line) and not line.startswith("--"):
            yield number, "takes a field by its number: unpack it into a name"
    if "record(" in source and "Fields of a record: reconciler/stores/records.py" not in source:
        yield 1, "does not say where the fields of a record are told"


def files(pattern: str) -> list[Path]:
    """Return the files of a pattern, in a stable order; a pattern that finds none is a mistake."""
    found = sorted(path for path in ROOT.glob(pattern) if "__pycache__" not in path.parts)
    assert found, f"no file matches {pattern}"
    return found


PACKAGES = ("reconciler/**/*.py", "worker/**/*.py")
CONTROLLER = ("reconciler/controller/*.py",)
TESTS = ("tests/**/*.py",)
STORES = ("reconciler/stores/memory/*.py", "reconciler/stores/redis/*.py")
WHERE: list[tuple[Rule, tuple[str, ...]]] = [
    (long_files, PACKAGES),
    (long_functions, PACKAGES),
    (long_rooms, CONTROLLER),
    (long_steps, CONTROLLER),
    (long_pages, ("tests/fundamentals/test_*.py",)),
    (inherits, CONTROLLER),
    (undocumented, PACKAGES),
    (undocumented_in_a_store, STORES),
    (unexplained_exceptions, PACKAGES + TESTS),
    (prints, PACKAGES),
    (unfinished, (*PACKAGES, *TESTS, "reconciler/**/*.lua")),
    (sleeps, TESTS),
    (mocks, TESTS),
    (without_legend, ("reconciler/**/*.lua",)),
    (nameless, ("reconciler/**/*.lua",)),
]
NOT_IN: dict[Rule, tuple[str, ...]] = {prints: ("reconciler/cli/*.py",), undocumented: STORES}
"""Where a rule does not hold."""
PLANTED: list[tuple[Rule, str]] = [
    (long_files, "x = 1\n" * 401),
    (long_functions, "def f():\n" + "    x = 1\n" * 60),
    (long_rooms, "x = 1\n" * 301),
    (long_steps, "def f():\n" + "    x = 1\n" * 41),
    (long_pages, "x = 1\n" * 201),
    (long_pages, "from test_01_a_task import thumbnail\n"),
    (inherits, "class TaskActionReconciler(LimitSteps): ...\n"),
    (inherits, "class Round(Protocol, base.Steps): ...\n"),
    (undocumented, "x = 1\n"),
    (undocumented, '"""M."""\nclass A:\n    """A."""\n    def method(self): ...\n'),
    (undocumented, '"""M."""\nasync def f(): ...\n'),
    (undocumented_in_a_store, '"""M."""\nclass A:\n    """A."""\n    def no_verb(self): ...\n'),
    (unexplained_exceptions, "x = 1  # type: ignore\n"),
    (unexplained_exceptions, "x = 1  # type: ignore[misc]\n"),
    (unexplained_exceptions, "x = 1  # noqa  # because\n"),
    (unexplained_exceptions, "x = 1  # noqa: E501, S101\n"),
    (prints, "def f():\n    print(1)\n"),
    (unfinished, "x = 1  # TO" + "DO: more\n"),
    (sleeps, "import time\ntime.sleep(1)\n"),
    (sleeps, "from time import monotonic, sleep\n"),
    (mocks, "import unittest.mock\n"),
    (mocks, "from unittest import mock\n"),
    (mocks, "from unittest.mock import Mock\n"),
    (without_legend, "-- KEYS[1] due index\nreturn ARGV[1]\n"),
    (nameless, "if r[3] ~= ARGV[3] then return 0 end\n"),
    (nameless, "local spec = redis.call('HGET', record(ARGV[2]), 's')\n"),
]
INNOCENT: list[tuple[Rule, str]] = [
    (long_functions, "def f():\n" + "    x = 1\n" * 59),
    (long_rooms, "x = 1\n" * 300),
    (long_steps, 'def f():\n    """Do."""\n' + "    x = 1\n" * 40),
    (inherits, "class Round: ...\n\n\nclass Lost(ReconcilerError): ...\n"),
    (undocumented, ""),
    (undocumented, '"""M."""\ndef _private(): ...\n'),
    (undocumented, '"""M."""\nclass A:\n    """A."""\n    @x.setter\n    def x(self, x): ...\n'),
    (undocumented_in_a_store, '"""M."""\nclass A:\n    """A."""\n    def claim(self): ...\n'),
    (unexplained_exceptions, "x = 1  # type: ignore[misc]  # the stub is wrong\n"),
    (unexplained_exceptions, "x = 1  # noqa: E501, S101  # a table\n"),
    (sleeps, "import time\ntime.monotonic()\n"),
    (without_legend, "-- KEYS[1]  due index\n-- ARGV[1]  base\nreturn 1\n"),
    (nameless, "-- one[3] is its name\nlocal path, launch = unpack(one)\nreturn head[2] == ARGV[4]\n"),
]


def named(cases: list[tuple[Rule, str]]) -> list[str]:
    """Test ids: the rules' names."""
    return [rule.__name__ for rule, _ in cases]


@pytest.mark.parametrize(("rule", "patterns"), WHERE, ids=[rule.__name__ for rule, _ in WHERE])
def test_the_house_is_in_order(rule: Rule, patterns: tuple[str, ...]) -> None:
    """No file of the tree breaks the rule."""
    spared = {path for pattern in NOT_IN.get(rule, ()) for path in files(pattern)}
    offences = [
        f"{path.relative_to(ROOT)}:{line} {what}"
        for pattern in patterns
        for path in files(pattern)
        if path not in spared
        for line, what in rule(path.read_text())
    ]
    assert not offences, f"{rule.__doc__}\n" + "\n".join(offences)


@pytest.mark.parametrize(("rule", "source"), PLANTED, ids=named(PLANTED))
def test_rules_see_an_offence(rule: Rule, source: str) -> None:
    """A planted offence is reported."""
    assert list(rule(source))


@pytest.mark.parametrize(("rule", "source"), INNOCENT, ids=named(INNOCENT))
def test_rules_let_the_innocent_pass(rule: Rule, source: str) -> None:
    """What keeps the rule is not reported."""
    assert list(rule(source)) == []


def test_functions_of_the_controller_are_short() -> None:
    """Half of them have at most five lines, without docstrings."""
    lines = [count for path in files(*CONTROLLER) for _, count in bodies(path.read_text())]
    assert median(lines) <= MEDIAN_LINES

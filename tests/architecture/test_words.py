"""What operators search for and count is called as the glossary calls it: log events, metrics, audit entries."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("reconciler", "worker") for path in (ROOT / package).rglob("*.py"))
GLOSSARY = {
    word.strip().lower()
    for line in re.findall(r"^\| (\*\*.+?\*\*) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    for word in re.split(r"[/,]", line.replace("*", ""))
}
FOREIGN = re.compile(r"(?i)^(jobs?|cancel\w*|execut\w*|dispatch\w*|workflows?|tasks?run|kill\w*|pods?)$")
"""Words of other systems for what the glossary has a word for."""
SUBJECTS = {
    "archive": "",
    "audit": "an audit entry, as the store's verb",
    "beat": "Celery's program",
    "cache": "of outputs; a reservation is the right to fill a key of it",
    "consumer": "the part of a worker that takes messages, as Celery calls it",
    "finalize": "what removes a finalizer",
    "flower": "the program",
    "forward": "of events to an exchange",
    "guardian": "the thread that keeps a worker's signs of life",
    "inputs": "of an action",
    "look": "of a worker at the shards",
    "metrics": "those of Prometheus",
    "quota": "whose units are leased",
    "secrets": "by reference",
    "traces": "those of OpenTelemetry",
    "wake": "the sending of a wake-up",
    "webhook": "of a condition",
    "work": "in the background of an asynchronous catalog",
    "channel": "the results channel",
    "line": "of launches that wait for workers",
    "ticket": "that tells a worker of lines",
    "message": "of the broker, as it comes",
    "round": "", "step": "", "attempt": "", "claim": "", "collect": "",
    "heartbeat": "", "plugin": "", "resync": "",
}  # fmt: skip
"""What a log event is about: its first word. Those without a meaning here stand in the glossary."""
QUESTIONS = {"what", "who", "whom", "whose", "whether", "how", "where", "when", "why", "which", "that"}
"""With these a docstring would open with half a sentence."""
NO_VERBS = {
    "a", "all", "an", "and", "another", "as", "at", "both", "by", "each", "every", "everything", "for",
    "from", "he", "how", "http", "if", "in", "it", "its", "many", "more", "most", "nothing", "of", "on",
    "one", "only", "others", "seconds", "she", "sigterm", "some", "somebody", "that", "the", "their",
    "these", "they", "this", "those", "to", "whatever", "whoever", "with",
}  # fmt: skip
"""With these the docstring of a function would name a thing, and leave it to the reader what is done with it."""
HOLLOW = {"define", "defines", "hold", "holds", "it", "something", "tell", "tells"}
"""With these the docstring of a class would say that it has contents, not what it is."""
VERBS_IN_S_OR_ED = {
    "address",
    "compress",
    "discuss",
    "embed",
    "feed",
    "need",
    "pass",
    "press",
    "process",
    "seed",
    "succeed",
}
REASON_KEYWORDS = {"reason", "action"}


def log_events(source: str) -> Iterator[str]:
    """Yield the events a source logs."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            logger, first = node.func.value, node.args[0]
            named = isinstance(logger, ast.Name) and logger.id == "log" and node.func.attr != "open"
            if named and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def audit_words(source: str) -> Iterator[str]:
    """Yield reasons and actions of the audit entries a source writes."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr == "audit":
            yield from (a.value for a in node.args[1:3] if isinstance(a, ast.Constant))  # type: ignore[misc]  # texts
        if isinstance(node.func, ast.Name) and node.func.id == "AuditEntry":
            given = [word.value for word in node.keywords if word.arg in REASON_KEYWORDS]
            yield from (value.value for value in given if isinstance(value, ast.Constant))  # type: ignore[misc]  # texts


def docstrings(source: str) -> Iterator[str]:
    """Yield the docstrings of a source: of its module, its classes and its functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


def opens_with_a_verb(text: str) -> bool:
    """Tell whether a docstring begins like an order: `Read …`, not `Reads …`, `The …` or a name in backticks."""
    word = first_word(text)
    other_form = word.endswith(("s", "ed")) and word not in VERBS_IN_S_OR_ED
    return text[:1].isalpha() and word not in NO_VERBS and not other_form


NAMED = re.compile(r"fixture|\brule\(|invariant|initialize|\bgiven\(|task|durable|property")
"""Marks of functions in tests that may name a thing or state a promise: fixtures, rules of a machine, tasks."""


def helpers_that_open_otherwise(source: str) -> Iterator[str]:
    """Yield the helpers of tests whose docstring does not open with a verb. A rule of the house states what must hold."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("test_"):
            continue
        marks = " ".join(map(ast.unparse, node.decorator_list))
        may_state = NAMED.search(marks) or (node.returns and ast.unparse(node.returns) == "Offences")
        text = ast.get_docstring(node)
        if text and not may_state and not opens_with_a_verb(text):
            yield f"{node.name}: {text.splitlines()[0]}"


def functions_that_open_otherwise(source: str) -> Iterator[str]:
    """Yield the functions whose docstring does not open with a verb; a property may name a thing, as an attribute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            is_property = any("property" in ast.unparse(mark) for mark in node.decorator_list)
            if text and not is_property and not opens_with_a_verb(text):
                yield f"{node.name}: {text.splitlines()[0]}"


def first_word(text: str) -> str:
    """Return the first word of a text, in small letters."""
    found = re.match(r"\W*([A-Za-z]+)", text)
    return found[1].lower() if found else ""


def metrics(source: str) -> set[str]:
    """Return metrics a source names."""
    return set(re.findall(r'"(taskaction_\w+)"', source))


def parts(name: str) -> list[str]:
    """Return the words of `two.parts_of`, `two_parts` or `TwoParts`."""
    return re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)


def test_log_events_begin_with_what_they_are_about() -> None:
    """A word of the glossary, or one whose meaning is listed; and each that is listed is used."""
    events = {event for path in SOURCES for event in log_events(path.read_text())}
    subjects = {event.partition(".")[0] for event in events}
    assert len(events) > 40
    assert subjects == SUBJECTS.keys()
    known = GLOSSARY | {"collect", "heartbeat"}
    assert [word for word, meaning in SUBJECTS.items() if not meaning and word not in known] == []


def test_no_foreign_word_is_used() -> None:
    """Neither in log events, nor in metrics, nor in audit entries."""
    found = []
    for path in SOURCES:
        source = path.read_text()
        names = [*log_events(source), *audit_words(source), *metrics(source)]
        found += [f"{path.name}: {name}" for name in names if any(map(FOREIGN.match, parts(name)))]
    assert found == []


def test_no_docstring_opens_with_a_question_word() -> None:
    """`Tell whether …`, `Define how …`: the verb stands first."""
    texts = {path: [*docstrings(path.read_text())] for path in SOURCES}
    assert sum(map(len, texts.values())) > 2000
    assert [
        f"{path}: {text.splitlines()[0]}"
        for path, found in texts.items()
        for text in found
        if first_word(text) in QUESTIONS
    ] == []


def test_docstrings_of_functions_open_with_a_verb() -> None:
    """What a function does is said first, as an order; modules, classes and properties say what they are."""
    assert [
        f"{path}: {line}" for path in SOURCES for line in functions_that_open_otherwise(path.read_text())
    ] == []


def test_docstrings_of_helpers_open_with_a_verb() -> None:
    """What a helper of tests does is said first, as an order; a test states its promise, a fixture names a thing."""
    sources = {path: path.read_text() for path in sorted((ROOT / "tests").rglob("*.py"))}
    assert [
        f"{path}: {line}" for path, text in sources.items() for line in helpers_that_open_otherwise(text)
    ] == []
    planted = '@pytest.fixture\ndef lab():\n    """A lab."""\n\n\ndef helper():\n    """The record."""\n'
    assert list(helpers_that_open_otherwise(planted)) == ["helper: The record."]


def test_docstrings_of_classes_say_what_they_are() -> None:
    """`The answer of a reconcile`, `Watches …`; not that it holds or tells something."""
    assert [
        f"{path}: {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and first_word(ast.get_docstring(node) or "") in HOLLOW
    ] == []


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("Read it.", True),
        ("The record.", False),
        ("Reads it.", False),
        ("Called late.", False),
        ("Process all.", True),
        ("`a/b`", False),
    ],
)
def test_openings_are_told_apart(text: str, verb: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """An order opens with a verb; a noun phrase, a statement and a name do not."""
    assert opens_with_a_verb(text) is verb


def test_all_three_are_looked_at() -> None:
    """The tests above see what is there."""
    texts = [path.read_text() for path in SOURCES]
    assert "taskaction_record_size_bytes" in {name for text in texts for name in metrics(text)}
    assert "EventNotForwarded" in {word for text in texts for word in audit_words(text)}
    assert "attempt.superseded" in {event for text in texts for event in log_events(text)}


@pytest.mark.parametrize(
    ("name", "foreign"),
    [("job.cancelled", 2), ("ExecutionFailed", 1), ("attempt.killed", 1), ("round.failed", 0)],
)
def test_foreign_words_are_seen(name: str, foreign: int) -> None:
    """In each of the three ways of writing."""
    assert sum(bool(FOREIGN.match(part)) for part in parts(name)) == foreign

"""Compute the work of `reconciler demo`: a survey of the Python standard library, one action for each source file.

A program of yours looks the same: a task, `.map()` over what is to be done, and a join of the results.
"""

from __future__ import annotations

import ast
import hashlib
import io
import sysconfig
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from reconciler import TaskEnvironment

env = TaskEnvironment("stdlib")

_BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)
"""Where definitions can be; expressions, which are most of a tree, hold none."""
_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "__pycache__"}


@dataclass(frozen=True)
class Source:
    """The input of one action: a file. When its content changes, so does its digest, and it is surveyed again.

    Attributes:
        path: of the file.
        sha256: of its content, in hexadecimal digits.
    """

    path: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read the file as it is now."""
        return cls(str(path), _digest(path.read_bytes()))


@dataclass(frozen=True)
class SourceFile:
    """The result of one action: the facts about a file.

    Attributes:
        lines: of the file.
        functions: definitions, methods and nested ones included.
        classes: definitions.
        longest: qualified name of the function with the most lines; empty when there is none.
        longest_lines: its lines.
    """

    lines: int
    functions: int
    classes: int
    longest: str = ""
    longest_lines: int = 0


@dataclass(frozen=True)
class Package:
    """A row of the table; a single module counts as a package of one file. Attributes as `SourceFile`."""

    name: str
    files: int
    lines: int
    functions: int
    classes: int
    longest: str
    longest_lines: int


@env.task(retries=2, timeout=timedelta(minutes=1), cache="auto")
def survey(source: Source) -> SourceFile:
    """Read one source file of this machine. Runs in a worker, unless the cache knows the answer.

    Raises:
        RuntimeError: the file was changed after it was submitted; the cache must not keep what is in it now.
    """
    data = Path(source.path).read_bytes()
    if _digest(data) != source.sha256:
        raise RuntimeError(f"{source.path} was changed meanwhile; run the demo again.")
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)  # the one the file declares
    text = io.TextIOWrapper(io.BytesIO(data), encoding).read()
    functions: list[tuple[int, str]] = []
    classes = _collect(ast.parse(text, source.path), "", functions)
    longest_lines, longest = max(functions, default=(0, ""))
    return SourceFile(len(text.splitlines()), len(functions), classes, longest, longest_lines)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _collect(node: ast.AST, prefix: str, functions: list[tuple[int, str]]) -> int:
    """Add each function below `node` with its number of lines; return the number of classes."""
    classes = 0
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _BLOCKS):
            continue
        inner = prefix
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.append(((child.end_lineno or child.lineno) - child.lineno + 1, prefix + child.name))
            inner = f"{prefix}{child.name}."
        elif isinstance(child, ast.ClassDef):
            classes += 1
            inner = f"{prefix}{child.name}."
        classes += _collect(child, inner, functions)
    return classes


def library() -> Path:
    """Tell where the standard library of this Python lies."""
    return Path(sysconfig.get_path("stdlib"))


def source_files(limit: int | None = None) -> list[Path]:
    """List its source files, sorted, without tests and installed packages.

    Args:
        limit: at most this many files, spread over the whole list.
    """
    root = library()
    found = sorted(
        path for path in root.rglob("*.py") if not _NOT_LIBRARY & set(path.relative_to(root).parts[:-1])
    )
    return found if limit is None or limit >= len(found) else found[:: len(found) // limit][:limit]


def rank(measured: Iterable[tuple[Path, SourceFile]]) -> list[Package]:
    """Join what the actions found into packages, those with the most lines first."""
    packages: dict[str, list[SourceFile]] = defaultdict(list)
    for path, facts in measured:
        packages[path.relative_to(library()).parts[0].removesuffix(".py")].append(facts)
    return sorted(
        (_joined(name, files) for name, files in packages.items()),
        key=lambda package: (-package.lines, package.name),
    )


def _joined(name: str, files: Sequence[SourceFile]) -> Package:
    longest = max(files, key=lambda file: file.longest_lines)
    return Package(
        name=name,
        files=len(files),
        lines=sum(file.lines for file in files),
        functions=sum(file.functions for file in files),
        classes=sum(file.classes for file in files),
        longest=longest.longest,
        longest_lines=longest.longest_lines,
    )

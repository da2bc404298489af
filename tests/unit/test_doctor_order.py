"""The order in which `reconciler doctor` looks at things."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.cli import checks
from reconciler.cli.checks import Check, examine
from reconciler.cli.finding import Finding


def test_nobody_changes_the_import_path_while_doctor_looks_along_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed is looked up before servers are asked: Celery changes `sys.path` in that thread meanwhile."""
    order: list[str] = []

    class Pool(ThreadPoolExecutor):
        """The pool of the checks of servers, whose beginning is told."""

        def __init__(self, workers: int) -> None:
            order.append("servers")
            super().__init__(workers)

    def check(name: str) -> Check:
        def run(_: object) -> Finding:
            order.append(name)
            return Finding(name=name)

        return Check(name, run, ())

    assert {each.name for each in checks._IMPORTS} == {"modules", "plugins"}
    monkeypatch.setattr(checks, "_IMPORTS", (check("modules"), check("plugins")))
    monkeypatch.setattr(checks, "_SERVERS", (check("redis"),))
    monkeypatch.setattr(checks, "ThreadPoolExecutor", Pool)
    before = sys.path[:]
    examine()
    assert order == ["modules", "plugins", "servers", "redis"]
    assert sys.path == before

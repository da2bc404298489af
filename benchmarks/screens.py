"""`python -m benchmarks.screens FOLDER`: pictures of each page of Flower, light and dark, wide and narrow."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from reconciler.client import Client
from reconciler.embedded.stack import Stack

_TESTS = Path(__file__).resolve().parent.parent / "tests" / "integration"
_LONG = "a-run-with-the-longest-name-12"
_TIMEOUT = 60
_TALL = 3000
"""A page is shown whole up to this height, in pixels."""


def main(folder: Path) -> None:
    """Make a stack with something in every state, and store the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(_TESTS))
    support, orchard = importlib.import_module("browser_support"), importlib.import_module("runs_functions")
    env = {"FLOWER_READ_ONLY": "false", "RECONCILER_QUOTAS": "press=1"}
    with tempfile.TemporaryDirectory(prefix="reconciler-screens-") as place:
        data = Path(place)
        with Stack(
            data, imports=["runs_functions"], flower=True, attempts_concurrency=4, env=env, cwd=_TESTS
        ) as stack:
            os.environ.update(stack.env())
            client = Client.from_settings()
            orchard.env.client = client
            with support.Browser(data / "browser") as page:
                _empty(page, stack.flower_url, folder)
                for name, path in _scene(client, orchard).items():
                    _all_looks(page, stack.flower_url + path, folder, name)
                _dialogs(page, stack.flower_url, folder)


def _empty(page: Any, url: str, folder: Path) -> None:  # noqa: ANN401  # of the tests
    for name, path in (("empty-runs", "/runs"), ("empty-waiting", "/waiting"), ("empty-health", "/health")):
        _all_looks(page, url + path, folder, name)


def _scene(client: Client, orchard: Any) -> dict[str, str]:  # noqa: ANN401  # of the tests
    """Have something in every state; the pages by name."""
    done = orchard.picks.map([1, 2, 3], run="pears")
    failed = orchard.fails.submit(
        ("the ladder broke",), run="plums", labels={"team": "red", "season": "2026-autumn"}
    )
    orchard.says.submit(("w" * 900,), run=_LONG, labels={"a-long-label-name-without-a-break": "v" * 60})
    asks = client.condition(
        "ship", prompt="**Ship** the pears?\n\n- 12 crates\n- by `boat`", description="_Soon_"
    )
    client.condition("count", "int", prompt="How many crates?")
    client.condition("words", "str", prompt="What shall the label say?")
    saplings = orchard.plants.submit((4,), run="saplings")
    orchard.naps.map([1.0, 2.0, 300.0], run="siesta")
    many = orchard.picks.map(range(300), run="orchard-300")
    for run in (done, failed, many, saplings):
        run.wait(_TIMEOUT)
    live = orchard.runs.map([300.0] * 3, run="apples")
    rests = orchard.rests.submit(run="cherries")
    holds = orchard.presses.submit((300.0,), run="cider")
    threading.Event().wait(3)
    return {
        "runs": "/runs",
        "runs-none": "/runs?q=nothing-like-that",
        "run": f"/runs/{live.id}",
        "run-many": f"/runs/{many.id}",
        "run-passes": f"/runs/{saplings.id}",
        "run-suspended": "/runs/default/development/siesta",
        "run-rests": f"/runs/{rests.id}",
        "run-long": f"/runs/default/development/{_LONG}",
        "action-failed": f"/runs/{failed.action}",
        "action-running": f"/runs/{live.id}/m0",
        "action-rests": f"/runs/{rests.action}",
        "action-holds": f"/runs/{holds.action}",
        "action-long": f"/runs/default/development/{_LONG}/a0",
        "action-asks": f"/runs/{asks.action}",
        "action-none": "/runs/default/development/nothing/a0",
        "waiting": "/waiting",
        "health": "/health",
        "tasks": "/tasks",
    }


def _all_looks(page: Any, url: str, folder: Path, name: str) -> None:  # noqa: ANN401  # of the tests
    page.open(url)
    page.wait(
        "document.querySelector('.rc-body')?.children.length || document.querySelector('.rc-problem, #tasks-table a')"
    )
    threading.Event().wait(0.6)
    for theme in ("light", "dark"):
        page.theme(theme)
        for width in (1440, 400):
            page.resize(width, 900)
            page.resize(width, max(900, min(_TALL, page.run("document.documentElement.scrollHeight"))))
            threading.Event().wait(0.15)
            page.screenshot(folder / f"{name}-{theme}-{width}.png")
    page.resize(1440, 900)


def _dialogs(page: Any, url: str, folder: Path) -> None:  # noqa: ANN401  # of the tests
    for name, path, button in (
        ("dialog-abort", "/runs/default/development/apples", "[data-button=abort]"),
        ("dialog-fork", "/runs/default/development/plums/a0", "[data-button=fork]"),
        ("dialog-all", "/runs?q=apples", "[data-all=abort]"),
        ("dialog-yes", "/waiting", "li:last-child [data-button=signal]"),
        ("dialog-text", "/waiting", "li:first-child [data-button=signal]"),
    ):
        page.open(url + path)
        page.click(button)
        page.wait("document.querySelector('dialog')")
        for theme, width in (("light", 1440), ("dark", 400)):
            page.theme(theme)
            page.resize(width, 900)
            threading.Event().wait(0.15)
            page.screenshot(folder / f"{name}-{theme}-{width}.png")
    page.open(f"{url}/health")
    page.click("[data-doctor]")
    page.wait_text("settings")
    page.screenshot(folder / "health-doctor-dark-400.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

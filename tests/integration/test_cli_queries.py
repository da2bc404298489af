"""`get` and `list` against real servers: what is known of actions and runs, for people and for programs."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest
from cli_support import HERE, ROOT, Backend, echo_spec, make

pytestmark = pytest.mark.servers


def test_get_tells_the_whole_story(backend: Backend) -> None:
    """`get` has the error with code and kind, the history with times in UTC, outputs and log."""
    backend.call("good", "greet", name="Ada")
    backend.call("bad", "fail", why="[red]no \u001b[31mstock")
    backend.end("good")
    backend.end("bad")
    good, bad = backend.answer("get", "good"), backend.answer("get", f"{HERE}/bad/a0")
    assert good["outputs"]["uri"].endswith("/a0/1/outputs.pb")
    assert good["log_uri"].endswith("/a0/1/log.txt")
    assert [entry["phase"] for entry in good["history"]][-1] == "Completed"
    assert good["history"][0]["at"].endswith("Z")
    assert bad["error"] == {"code": "ValueError", "kind": "USER", "message": "[red]no \u001b[31mstock"}
    assert good["labels"]["flyte.org/run"] == "good"
    shown = backend.reconciler("get", "bad").stdout
    assert "[ValueError] USER: [red]no \\x1b[31mstock" in shown
    assert "\u001b" not in shown
    assert " UTC (" in shown


def test_get_says_who_aborted_and_why(backend: Backend) -> None:
    """Reason and actor of an abort are shown."""
    make(backend, "aborted")
    deletion = backend.answer("get", "r")["deletion"]
    assert deletion["reason"] == "no need"
    assert deletion["actor"] in backend.reconciler("get", "r").stdout


def test_list_shows_runs_newest_first(backend: Backend) -> None:
    """Runs come newest first with their actions by phase; --limit says when there are more."""
    for number in range(3):
        backend.sleep(f"r{number}")
        backend.end(f"r{number}")
    backend.client.submit_many([echo_spec(b'{"x":1}')] * 2, run="group")
    answer = backend.answer("list")
    assert [run["run"] for run in answer["runs"]] == [
        f"{HERE}/{name}" for name in ("group", "r2", "r1", "r0")
    ]
    assert answer["runs"][0]["phases"] == {"queued": 3}
    assert not answer["more"]
    shown = backend.reconciler("list", "--limit", "1")
    assert f"{HERE}/group" in shown.stdout
    assert "3 queued" in shown.stdout
    assert "r2" not in shown.stdout
    assert "--limit" in shown.stderr


def test_list_chooses_by_project(backend: Backend) -> None:
    """--project and --domain choose among the runs, and place names that are given without them."""
    backend.sleep("here")
    backend.sleep("there", 0, "--project", "other")
    assert [run["run"] for run in backend.answer("list", "--project", "other")["runs"]] == [
        "other/development/there"
    ]
    assert len(backend.answer("list")["runs"]) == 2
    assert backend.answer("get", "there", "--project", "other")["phase"] == "queued"
    contradiction = backend.reconciler("get", f"{HERE}/here", "--project", "other")
    assert contradiction.exit_code == 2


def test_list_pages_through_a_run(backend: Backend) -> None:
    """--limit and --after show each action of a run once, numbers in names as numbers: m2, then m10."""
    backend.client.submit_many([echo_spec(b'{"x":1}')] * 12, run="r")
    seen: list[str] = []
    after: tuple[str, ...] = ()
    while after is not None:
        page = backend.answer("list", "r", "--limit", "5", *after)
        seen += [action["action"].rpartition("/")[2] for action in page["actions"]]
        after = ("--after", page["after"]) if page["after"] else None  # type: ignore[assignment]  # ends the loop
    assert seen == ["a0", *(f"m{n}" for n in range(12))]
    assert [action.id.action for action in backend.client.actions(backend.get("r").id.run_id)] == seen
    shown = re.findall(r"^(m\d+) ", backend.reconciler("list", "r").stdout, re.MULTILINE)
    assert shown == seen[1:]
    assert page["phases"] == {"queued": 13}


def test_list_filters_actions(backend: Backend) -> None:
    """--phase and --parent choose among the actions of a run."""
    backend.client.submit_many([echo_spec(b'{"x":1}'), echo_spec(b"{}"), echo_spec(b'{"x":3}')], run="r")
    backend.end("r")
    failed = backend.answer("list", "r", "--phase", "failed")["actions"]
    assert [action["action"].rpartition("/")[2] for action in failed] == ["a0", "m1"]
    children = backend.answer("list", "r", "--parent", "a0")["actions"]
    assert {action["parent"] for action in children} == {"a0"}
    assert len(children) == 3
    assert backend.answer("list", "r", "--parent", "m0")["actions"] == []
    assert "m1      failed" in backend.reconciler("list", "r", "--phase", "failed").stdout
    assert backend.reconciler("list", "--phase", "failed").exit_code == 2


def test_whoever_reads_may_stop_reading(backend: Backend) -> None:
    """A pipe that is closed, as `head` closes it, is no error."""
    backend.client.submit_many([echo_spec(b'{"x":1}')] * 5, run="r")
    process = backend.start("list", "r")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(30) == 0
    process.stderr.close()


def test_a_terminal_gets_colours_and_whole_names(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal phases have colours, and a name that is too wide is folded, not cut; a pipe gets plain lines."""
    name = "x" * 30
    backend.sleep(name)
    backend.end(name)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli", "list", name], cwd=ROOT, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    with open(ours, encoding="utf-8", newline="") as terminal:  # noqa: PTH123  # a descriptor, not a path
        shown = "".join(_lines(terminal))
    assert process.wait(30) == 0
    assert "\u001b[32m" in shown
    assert name in re.sub(r"\s|\u001b\[[0-9;]*m", "", shown)
    plain = backend.reconciler("list", name).stdout
    assert "\u001b" not in plain
    assert f"{HERE}/{name}  1 succeeded\n" in plain


def _lines(terminal: TextIO) -> Iterator[str]:
    """Yield all lines until the other side closes, which a terminal tells by an error."""
    with contextlib.suppress(OSError):
        yield from terminal

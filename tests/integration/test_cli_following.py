"""`watch`, `events`, `logs` and `abort` against real servers."""

from __future__ import annotations

import json
import signal

import pytest
from cli_support import HERE, Backend, echo_spec

from reconciler.api.phase import ActionPhase

pytestmark = pytest.mark.servers


def test_watch_shows_events_while_they_happen(backend: Backend) -> None:
    """Each event is printed when it is committed, as one JSON object per line, up to the final one."""
    backend.sleep("r", 0.2)
    process = backend.start("watch", "r", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["phase"] == "queued"  # before anything else has happened
    backend.drive()
    assert json.loads(process.stdout.readline())["phase"] == "running"
    backend.end("r")
    rest, errors = process.communicate(timeout=30)
    last = [json.loads(line) for line in rest.splitlines()]
    assert [(event["sequence"], event["phase"], event["final"]) for event in last] == [(3, "succeeded", True)]
    assert (process.returncode, errors) == (0, "")


def test_ctrl_c_leaves_the_action_running(backend: Backend) -> None:
    """Ctrl-C ends the watching with 130, and says that the action goes on and how to stop it."""
    backend.sleep("r", 60)
    backend.drive()
    process = backend.start("watch", "r")
    assert process.stdout is not None
    assert "queued" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"{HERE}/r/a0 goes on" in errors
    assert f"reconciler abort {HERE}/r/a0" in errors
    assert "Traceback" not in errors
    assert backend.get("r").phase is ActionPhase.RUNNING


def test_watch_ends_when_the_events_are_gone(backend: Backend) -> None:
    """An action that has ended is not waited for, also when its events are no longer kept."""
    backend.sleep("r")
    backend.end("r")
    backend.store.trim_events(backend.store.now() + 1)
    result = backend.reconciler("watch", "r", "--timeout", "10")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no longer kept" in backend.reconciler("events", "r").stderr


def test_events_go_on_behind_a_number(backend: Backend) -> None:
    """`events --after` leaves out what was seen; people get a line each, with attempt and reason."""
    backend.call("r", "fail", why="no stock")
    backend.end("r")
    lines = backend.reconciler("events", "r", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["error"] == {"code": "ValueError", "kind": "USER", "message": "no stock"}
    assert backend.reconciler("events", "r", "--after", "1", "--json").stdout.splitlines() == lines[1:]
    last = backend.reconciler("events", "r").stdout.splitlines()[-1]
    assert "attempt 1  failed" in last
    assert "[ValueError] no stock" in last


def test_logs_are_printed_as_they_were_written(backend: Backend) -> None:
    """A pipe gets the log byte for byte; where none was stored, stderr says why."""
    backend.call("r", "greet", name="Ada")
    backend.sleep("s")
    waiting = backend.reconciler("logs", "r")
    assert (waiting.exit_code, waiting.stdout) == (0, "")
    assert "has not begun (queued)" in waiting.stderr
    backend.end("r")
    backend.end("s")
    written = "greeting Ada\n\u001b[31mred\u001b[0m \u001b]0;title\u0007\n"
    assert backend.reconciler("logs", "r").stdout == written
    assert backend.answer("logs", "r")["log"] == written
    assert "No log is stored" in backend.reconciler("logs", "s").stderr


def test_logs_that_are_gone_are_not_found(backend: Backend) -> None:
    """A log that was removed from S3 ends with 6."""
    backend.call("r", "greet", name="Ada")
    backend.end("r")
    backend.engine.blobs.delete_prefix(backend.answer("get", "r")["log_uri"].rpartition("/")[0])
    assert backend.reconciler("logs", "r").exit_code == 6


def test_abort_of_a_run_stops_all_of_it(backend: Backend) -> None:
    """RUN alone aborts root and descendants; again, and after the end, it says so and changes nothing."""
    sleep = echo_spec(b'{"x":1}')
    backend.client.submit_many([sleep] * 3, run="r")
    first = backend.answer("abort", "r", "--reason", "wrong input", "--yes")
    assert first["outcome"] == "requested"
    assert backend.answer("abort", "r", "--reason", "other", "--yes")["outcome"] == "already requested"
    backend.end("r")
    assert backend.answer("list", "r")["phases"] == {"aborted": 4}
    assert backend.answer("get", "r")["deletion"]["reason"] == "wrong input"
    assert "has ended before: aborted" in backend.reconciler("abort", "r", "--reason", "x").stdout


def test_abort_of_an_action_spares_the_others(backend: Backend) -> None:
    """RUN/ACTION aborts that action alone."""
    backend.client.submit_many([echo_spec(b'{"x":1}')] * 2, run="r")
    backend.reconciler("abort", "r/m1", "--reason", "wrong input", "--yes")
    backend.end("r")
    assert backend.answer("get", "r/m0")["phase"] == "succeeded"
    assert backend.answer("get", "r/m1")["phase"] == "aborted"


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_abort_asks_first(backend: Backend, answer: str) -> None:
    """Without a yes nothing is aborted, and the exit code is 130."""
    backend.sleep("r", 60)
    result = backend.reconciler("abort", "r", "--reason", "x", input=answer)
    assert result.exit_code == 130
    assert "nothing was aborted" in result.stderr
    assert backend.get("r").metadata.deletion is None
    assert "is being aborted" in backend.reconciler("abort", "r", "--reason", "x", input="y\n").stdout
    assert "is being aborted" in backend.reconciler("get", "r").stdout


@pytest.mark.parametrize("args", [["--yes"], ["--reason", " ", "--yes"], ["--reason", "x", "--json"]])
def test_abort_wants_a_reason_and_a_yes(backend: Backend, args: list[str]) -> None:
    """Without a reason, or with --json but no --yes, nothing is asked or done."""
    backend.sleep("r", 60)
    assert backend.reconciler("abort", "r", *args).exit_code == 2
    assert backend.get("r").metadata.deletion is None

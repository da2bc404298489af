"""`top` and the tree of `watch`, against real servers: on a terminal, in a pipe, for programs."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from cli_support import HERE, ROOT, Backend, echo_spec, eventually

from reconciler.api.action import ActionId
from reconciler.api.event import AuditEntry
from reconciler.plugins.echo import EchoPlugin

pytestmark = pytest.mark.servers


class Terminal:
    """A command on a terminal, and what it has shown."""

    def __init__(self, *args: str) -> None:
        ours, theirs = pty.openpty()
        self._ours = ours
        env = {**os.environ, "COLUMNS": "120", "LINES": "40", "TERM": "xterm"}
        command = [sys.executable, "-m", "reconciler.cli", *args]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env=env
        )
        os.close(theirs)
        self._shown = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end was closed
            while data := os.read(self._ours, 65536):
                self._shown += data

    @property
    def shown(self) -> str:
        """All it wrote, without control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._shown.decode(errors="replace"))

    def end(self) -> int:
        """Wait for its end; gives the exit code."""
        code = self.process.wait(30)
        self._thread.join(10)
        os.close(self._ours)
        return code


@pytest.fixture
def told(backend: Backend) -> Iterator[Backend]:
    """An installation in which a worker says that it lives."""
    backend.store.say_alive("attempts@here", b'{"pid":7,"queues":["attempts"],"functions":3}', 60)
    yield backend
    backend.store.say_alive("attempts@here", b"", 0)


def test_top_shows_queues_and_workers(told: Backend) -> None:
    """Once in a pipe and for programs: what waits, who lives, what is paused."""
    told.client.pause_queue("spare")
    told.client.limit_queue("attempts", 9)
    answer = told.answer("top")
    assert [worker["name"] for worker in answer["workers"]] == ["attempts@here"]
    assert [(queue["name"], queue["limit"], queue["paused"]) for queue in answer["queues"]] == [
        ("attempts", 9, False),
        ("spare", None, True),
    ]
    shown = told.reconciler("top").stdout
    assert "no step is late; 0 launches wait; 1 worker lives; swept: resync never, collect never" in shown
    assert re.search(r"attempts +0 +1 +0 +open +9", shown)


def test_top_tells_functions_sweeps_and_what_went_wrong(
    told: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows which function, when each sweep comes next, whose worker was lost, whose clean-up does not end."""
    told.store.tell_functions("w1", "attempts", {"shop.greet": "1", "shop.sell": "2"}, 60_000)
    told.store.tell_functions("w2", "attempts", {"shop.greet": "1"}, 60_000)
    told.store.say_swept("resync")

    def sticks(*_: object) -> None:
        raise RuntimeError("the door sticks")

    monkeypatch.setattr(EchoPlugin, "finalize", sticks)
    told.client.submit(echo_spec(b'{"x":1}', "sticky"))

    def tried() -> bool:
        told.drive()
        return any(one.cleanup_tries for one in told.store.cleaning_up(9).values())

    eventually(tried)
    lost = ActionId("default", "development", "gone", "a0")
    for reason, message in (
        ("FailedPluginHandle", "[WorkerLost] worker w3 vanished"),
        ("CleanupFailed", "given up"),
    ):
        told.store.record_audit(
            [AuditEntry(id=lost, reason=reason, action="x", message=message, at=told.store.now())]
        )
    found = told.answer("top")
    functions = {"shop.greet": 2, "shop.sell": 1}
    assert {one["name"]: one["workers"] for one in found["queues"][0]["functions"]} == functions
    resync, collect = found["schedules"]
    assert (resync["every"], resync["next"] - resync["last"]) == (2000, 2000)
    assert (collect["last"], collect["next"]) == (None, None)
    assert [one["action"] for one in found["lost"]["newest"]] == [str(lost)]
    assert [(one["action"], one["given_up"]) for one in found["cleanups"]] == [
        (f"{HERE}/sticky/a0", False),
        (str(lost), True),
    ]
    shown = told.reconciler("top").stdout
    assert re.search(r"resync .* ago, next (in|due since) ", shown)
    assert "1 worker lease was lost within a day" in shown
    assert "its clean-up failed once, and is tried again" in shown
    told.store.tell_functions("w1", "attempts", {}, 0)
    told.store.tell_functions("w2", "attempts", {}, 0)


def test_top_looks_again_until_it_is_told_to_stop(told: Backend) -> None:
    """On a terminal; Ctrl-C is no error."""
    terminal = Terminal("top", "--every", "0.2s")
    eventually(lambda: "attempts@here" in terminal.shown, 30)
    told.store.say_alive("late@here", b'{"pid":8,"queues":["attempts"],"functions":3}', 60)
    eventually(lambda: "late@here" in terminal.shown, 30)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0
    told.store.say_alive("late@here", b"", 0)


def test_watch_shows_the_tree_of_a_run(backend: Backend) -> None:
    """Equal siblings are one line, what failed says why; it ends with the run, and exits as `result` does."""
    specs = [echo_spec(b'{"x":1}')] * 8 + [echo_spec(b"{}")]
    backend.client.submit_many(specs, run="r")
    terminal = Terminal("watch", "r")
    eventually(lambda: "0 of 10 ended: 10 queued" in terminal.shown, 30)
    backend.end("r")
    assert terminal.end() == 3
    assert "10 of 10 ended: 8 succeeded, 2 failed" in terminal.shown
    assert "8 \u00d7 echo" in terminal.shown
    assert re.search(r"m8 +failed", terminal.shown)
    assert "succeeded" in backend.reconciler("events", "r/m0").stdout


def test_watch_without_a_terminal_tells_events(backend: Backend) -> None:
    """As it did: one line for each event."""
    backend.client.submit_many([echo_spec(b'{"x":1}')], run="r")
    backend.end("r")
    shown = backend.reconciler("watch", "r").stdout
    assert len(shown.splitlines()) == backend.get("r").events

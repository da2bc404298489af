"""A fault of the installation around an attempt is reported at once, in its own words, and never booked on the user."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
from cli_support import Backend, backend_on, eventually, stop_runner

from reconciler.api.action import AttemptOutcome, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.embedded.servers import EmbeddedServers
from worker.attempts import attempt, heartbeat, runners
from worker.runner import process

pytestmark = pytest.mark.servers
SECRET = "no-log-shall-hold-me"


@pytest.fixture
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An installation of its own that does not wait long between two tries."""
    with backend_on(
        servers, monkeypatch, RECONCILER_REQUEUE_DURATION="10ms", RECONCILER_ATTEMPT_LEASE="10m"
    ) as made:
        yield made


def raises(error: Exception) -> Callable[..., NoReturn]:
    """Return a function that raises this."""

    def broken(*_: object, **__: object) -> NoReturn:
        raise error

    return broken


def without_threads(name: str) -> Callable[[threading.Thread], None]:
    """Return `Thread.start` on a host that has no more threads when this one is started."""
    start = threading.Thread.start

    def started(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    return started


def unencodable(*_: object, **__: object) -> AttemptOutcome:
    """Return an outcome that no record can hold."""
    return AttemptOutcome(ended="returned", code="\ud800")


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
FILES = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
FAULTS: list[tuple[object, str, object, str]] = [
    (attempt, "resolve", raises(FILES), "Too many open files"),
    (attempt, "limits_of", raises(KeyError("a bug of ours")), "a bug of ours"),
    (attempt, "check_fit", raises(MemoryError()), "MemoryError"),
    (attempt, "call_of", raises(FULL), "free space"),
    (runners, "runner_of", raises(FILES), "ulimit -n"),
    (attempt.Attempt, "_run", raises(MemoryError()), "give it more memory"),
    (attempt, "_log_of", raises(RuntimeError("a bug of ours")), "a bug of ours"),
    (attempt.Attempt, "_write", raises(FULL), "No space left on device"),
    (attempt.Attempt, "_write", unencodable, "surrogates not allowed"),
    (threading.Thread, "start", without_threads("reconciler-heartbeat"), "can't start new thread"),
]


def ended_with(backend: Backend, text: str) -> Callable[[], bool]:
    """Whether run r tells of a system failure with this text, or that its launch was handed back for it."""

    def told() -> bool:
        backend.drive()
        record = backend.get("r")
        return (bool(record.status.system_failures) or "cannot run functions" in history(record)) and (
            text in history(record)
        )

    return told


def history(record: TaskAction) -> str:
    """Return all that the record says of what happened."""
    return repr(record.status)


@pytest.mark.parametrize(("place", "name", "fault", "text"), FAULTS, ids=[f"{f[1]}-{f[3]}" for f in FAULTS])
def test_a_fault_is_told_at_once_and_costs_no_retry(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, fault: object, text: str
) -> None:
    """The record has the fault's own text before its lease could run out; once mended, the first attempt succeeds."""
    stop_runner()  # so that a process is started inside of the attempt
    backend.call("r", "greet", name="x")
    with monkeypatch.context() as broken:
        broken.setattr(heartbeat._Process, "keeper", None)
        broken.setattr(place, name, fault)
        eventually(ended_with(backend, text))  # the lease is 10 minutes
    backend.end("r")
    record = backend.get("r")
    assert record.phase is ActionPhase.SUCCEEDED
    assert record.status.attempts == 1
    assert "vanished" not in history(record)


def test_without_a_process_for_functions_the_launch_waits(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is handed back, says why, and costs nothing at all; once one can be started it runs."""
    stop_runner()
    backend.call("r", "greet", name="x")

    def told() -> bool:
        backend.drive()
        return "No process can be started" in history(backend.get("r"))

    with monkeypatch.context() as broken:
        broken.setattr(process.subprocess, "Popen", raises(FILES))
        eventually(told)
    backend.end("r")
    record = backend.get("r")
    assert record.phase is ActionPhase.SUCCEEDED
    assert (record.status.attempts, record.status.total_system_failures) == (1, 0)


def test_no_temporary_folder_is_needed(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt runs, with its log, where no folder for temporary files exists."""
    for variable in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(variable, "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    stop_runner()
    backend.call("r", "greet", name="x")
    backend.end("r")
    assert backend.get("r").status.system_failures == 0
    assert "greeting x" in backend.reconciler("logs", "r").output


def test_without_a_thread_for_s3_the_work_is_not_lost(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading inputs and writing outputs does without a thread of its own where none can be started."""
    monkeypatch.setattr(threading.Thread, "start", without_threads("reconciler-s3"))
    backend.call("r", "greet", name="x")
    backend.end("r")
    assert backend.get("r").status.system_failures == 0


def test_a_fault_of_one_is_not_its_neighbours(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of launches drawn together, one whose outcome no record can hold is told as a fault; the others keep their ends."""
    backend.call("first", "greet", name="x")
    backend.end("first")  # so that its pace is known, and many are drawn together
    written = attempt.Attempt._write

    def one_broken(of: attempt.Attempt, place: str) -> AttemptOutcome:
        if of.record.id.run == "r3" and not of.record.status.launches:
            return unencodable()
        return written(of, place)

    monkeypatch.setattr(attempt.Attempt, "_write", one_broken)
    names = [f"r{number}" for number in range(8)]
    for name in names:
        backend.call(name, "greet", name="x")
    for name in names:
        backend.end(name)
        record = backend.get(name)
        assert record.phase is ActionPhase.SUCCEEDED
        assert record.status.total_system_failures == (name == "r3")

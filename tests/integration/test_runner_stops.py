"""Functions that are stopped: asked first, killed after the grace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runner_support import eventually, gone, started, value

from worker.runner.runner import Ended, Runner, Stopped


def test_an_infinite_loop_is_stopped(run: Callable[..., Ended], log: Path) -> None:
    """`while True: pass` ends by an exception, without a kill, and the child is replaced."""
    before = value(run("pid"))
    assert run("spin", stop=lambda: "aborted" if started(log) else None) == Stopped("aborted", killed=False)
    assert gone(before)
    assert value(run("add", a=1)) == 3


@pytest.mark.parametrize("function", ["block", "block_async"])
def test_a_stopped_function_cleans_up(
    run: Callable[..., Ended], function: str, log: Path, tmp_path: Path
) -> None:
    """A function that waits, plain or async, is interrupted and its `finally` runs."""
    trace = tmp_path / "trace"
    ended = run(function, trace=str(trace), stop=lambda: "superseded" if started(log) else None)
    assert ended == Stopped("superseded", killed=False)
    assert trace.read_text() == "cleaned up"


def test_a_computing_coroutine_is_stopped(run: Callable[..., Ended], log: Path) -> None:
    """An async function that never awaits is interrupted too."""
    assert run("spin_async", stop=lambda: "aborted" if started(log) else None) == Stopped(
        "aborted", killed=False
    )


@pytest.mark.parametrize("function", ["stubborn", "hold_the_gil"])
def test_a_function_that_does_not_listen_is_killed(
    run: Callable[..., Ended], function: str, log: Path
) -> None:
    """A function that swallows the exception, and C code that holds the GIL, are killed after the grace."""
    before = value(run("pid"))
    ended = run(function, stop=lambda: "aborted" if started(log) else None, grace=0.2)
    assert ended == Stopped("aborted", killed=True)
    assert gone(before)
    assert value(run("add", a=1)) == 3


def test_the_exception_is_named(run: Callable[..., Ended], log: Path) -> None:
    """What is raised inside is `AttemptStopped`, which `except Exception` does not catch."""
    run("stubborn", stop=lambda: "aborted" if started(log) else None, grace=0.5)
    assert "ignored AttemptStopped" in log.read_text()


def test_time_is_limited(run: Callable[..., Ended]) -> None:
    """A function that takes longer than its timeout is stopped for that reason."""
    assert run("spin", timeout=0.2) == Stopped("timed out", killed=False)
    assert run("hold_the_gil", timeout=0.2, grace=0.1) == Stopped("timed out", killed=True)


def test_a_reason_to_stop_is_heeded_before_the_call(run: Callable[..., Ended], log: Path) -> None:
    """A call that shall not run any more does not begin."""
    assert run("spin", stop=lambda: "aborted") == Stopped("aborted", killed=False)
    assert not started(log)


def test_another_thread_stops_a_call_at_once(runner: Runner, run: Callable[..., Ended], log: Path) -> None:
    """A heartbeat thread need not wait for the next poll, even while the function holds its GIL."""
    told = []

    def heartbeat() -> None:
        eventually(lambda: started(log))
        told.append(runner.request_stop("superseded"))

    thread = threading.Thread(target=heartbeat)
    thread.start()
    begun = time.monotonic()
    ended = run("hold_the_gil", poll=600.0, grace=0.1)
    thread.join()
    assert ended == Stopped("superseded", killed=True)
    assert told == [True]
    assert time.monotonic() - begun < 30


def test_a_late_request_stops_nothing(runner: Runner, run: Callable[..., Ended]) -> None:
    """A request after the end of a call is refused, and does not reach the next call."""
    assert value(run("add", a=1)) == 3
    assert runner.request_stop("aborted") is False
    assert value(run("add", a=1)) == 3


def test_an_error_of_the_callback_ends_the_call(run: Callable[..., Ended], log: Path) -> None:
    """When the supervisor cannot go on, its function is not left running behind its back."""
    before = value(run("pid"))

    def stop() -> str | None:
        if started(log):
            raise ConnectionError("no store")
        return None

    with pytest.raises(ConnectionError, match="no store"):
        run("hold_the_gil", stop=stop)
    assert gone(before)
    assert value(run("add", a=1)) == 3

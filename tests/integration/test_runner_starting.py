"""How the child of a runner starts and ends."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runner_support import FUNCTIONS, LOG_LIMIT, child_of, eventually, gone, started, value

from worker.runner.runner import Call, Died, Ended, NotStarted, Runner, Stopped


def test_a_module_that_cannot_be_imported_is_told(log: Path) -> None:
    """A start that fails says which module is at fault and what to correct, at every call."""
    with Runner(["no_such_module"], log_limit=LOG_LIMIT) as runner:
        for _ in range(2):
            ended = runner.run(
                Call("add", b"{}", {}, {}), stop=lambda: None, poll=1, timeout=60, grace=1, log=log
            )
            assert isinstance(ended, NotStarted)
            assert "module 'no_such_module' cannot be imported" in ended.message
            assert "RECONCILER_IMPORTS" in ended.message


def test_a_module_that_kills_the_process_is_told(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends during its imports is told, with what it wrote."""
    (tmp_path / "deadly_module.py").write_text("import os\nprint('last words', flush=True)\nos._exit(5)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with Runner(["deadly_module"], log_limit=LOG_LIMIT) as runner:
        ended = runner.run(Call("f", b"{}", {}, {}), stop=lambda: None, poll=1, timeout=60, grace=1, log=log)
    assert isinstance(ended, NotStarted)
    assert "while it imported 'deadly_module'" in ended.message
    assert "status 5" in ended.message
    assert "last words" in ended.message


@pytest.mark.parametrize(("start_timeout", "reason"), [(2.5, None), (60.0, "aborted")])
def test_a_start_that_hangs_is_ended(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_timeout: float, reason: str | None
) -> None:
    """Imports that take too long are ended with advice; a call that waits for them can be stopped."""
    (tmp_path / "slow_module.py").write_text("import select\nselect.select([], [], [])\n")
    monkeypatch.syspath_prepend(tmp_path)
    answers = iter([None])
    with Runner(["slow_module"], log_limit=LOG_LIMIT, start_timeout=start_timeout) as runner:
        ended = runner.run(
            Call("f", b"{}", {}, {}),
            stop=lambda: next(answers, reason),
            poll=0.05,
            timeout=60,
            grace=1,
            log=log,
        )
    if reason is None:
        assert isinstance(ended, NotStarted)
        assert "was not ready with importing 'slow_module' after 2.5 s" in ended.message
    else:
        assert ended == Stopped("aborted", killed=False)


def test_a_closed_runner_leaves_nothing(log: Path) -> None:
    """After `close` the process is gone, no descriptor is left, and calls are refused; again is harmless."""
    gc.collect()  # what earlier tests of this process have dropped would be closed in the middle of this one
    before = set(Path("/proc/self/fd").iterdir())
    runner = Runner([FUNCTIONS], log_limit=LOG_LIMIT)
    runner.start()
    child = child_of(runner)
    call = Call("add", b'{"a":1}', {}, {})
    options: dict[str, Any] = {"stop": lambda: None, "poll": 1.0, "timeout": 60.0, "grace": 1.0, "log": log}
    assert value(runner.run(call, **options)) == 3
    assert isinstance(runner.run(Call("os_exit", b'{"status":1}', {}, {}), **options), Died)
    assert value(runner.run(call, **options)) == 3
    last = child_of(runner)
    runner.close()
    runner.close()
    assert gone(child)
    assert gone(last)
    assert set(Path("/proc/self/fd").iterdir()) == before
    with pytest.raises(RuntimeError, match="closed"):
        runner.run(call, **options)


def test_the_child_outlives_the_thread_that_started_it(runner: Runner, run: Callable[..., Ended]) -> None:
    """A child started by a thread of a pool serves on when that thread has ended."""
    thread = threading.Thread(target=runner.start)
    thread.start()
    thread.join()
    begun_by_thread = child_of(runner)
    assert value(run("pid")) == begun_by_thread


def test_closing_stops_a_running_call(runner: Runner, run: Callable[..., Ended], log: Path) -> None:
    """`close` from another thread ends the call first."""

    def closer() -> None:
        eventually(lambda: started(log))
        runner.close()

    thread = threading.Thread(target=closer)
    thread.start()
    assert run("spin") == Stopped("closed", killed=False)
    thread.join()

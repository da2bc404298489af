"""Functions that take their process down: each death is told, and the next call is served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runner_support import PATH, SUPERVISOR, child_of, eventually, gone, value
from small_cgroup import limited_group

from worker.runner.runner import Died, Ended, Runner

DEATHS: list[tuple[str, dict[str, int], int | None, int | None]] = [
    ("kill_myself", {"number": int(signal.SIGKILL)}, int(signal.SIGKILL), None),
    ("kill_myself", {"number": int(signal.SIGABRT)}, int(signal.SIGABRT), None),
    ("segfault", {}, int(signal.SIGSEGV), None),
    ("os_exit", {"status": 0}, None, 0),
    ("os_exit", {"status": 3}, None, 3),
]


@pytest.mark.parametrize(("function", "given", "number", "status"), DEATHS)
def test_a_death_is_told(
    run: Callable[..., Ended], function: str, given: dict[str, int], number: int | None, status: int | None
) -> None:
    """Signals and exit statuses are told apart, also status 0, and the next call finds a new process."""
    before = value(run("pid"))
    ended = run(function, **given)
    assert isinstance(ended, Died)
    assert (ended.signal, ended.status, ended.oom) == (number, status, False)
    assert ended.message.startswith("The process of the function ")
    assert value(run("pid")) != before
    assert gone(before)


def test_a_crash_leaves_its_stack_in_the_log(run: Callable[..., Ended], log: Path) -> None:
    """After a segmentation fault the log shows the Python stack."""
    assert isinstance(run("segfault"), Died)
    assert "Fatal Python error: Segmentation fault" in log.read_text()
    assert "in segfault" in log.read_text()


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A cgroup that may hold 200 MB; skipped where none can be made."""
    with limited_group(200 << 20) as group:
        if group is None:
            pytest.skip(
                "no cgroup with a memory limit can be made here (needs root and a writable /sys/fs/cgroup)"
            )
        yield group


def test_death_for_want_of_memory_is_told(small_cgroup: Path, log: Path) -> None:
    """A child that the kernel's OOM killer ended is told apart from one that was killed otherwise."""
    program = SUPERVISOR + (
        "Path(sys.argv[2]).write_text('0')\n"
        "print(supervise('hog', sys.argv[1]))\n"
        "print(type(supervise('add', sys.argv[1])).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(log), str(small_cgroup / "cgroup.procs")],
        env=PATH,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    death, after = done.stdout.splitlines()
    assert death.startswith(
        "Died(signal=9, status=None, oom=True, message='The process of the function was killed"
    )
    assert after == "Unfit"  # it was served, without its arguments


def test_a_function_that_closes_our_socket_is_ended(run: Callable[..., Ended]) -> None:
    """A function that closes what it did not open loses its process, not the worker."""
    before = value(run("pid"))
    ended = run("close_everything")
    assert isinstance(ended, Died)
    assert "broke off the conversation" in ended.message
    assert gone(before)
    assert value(run("add", a=1)) == 3


def test_a_sigterm_from_elsewhere_is_told(run: Callable[..., Ended]) -> None:
    """A SIGTERM that nobody here has sent is a death, not a stop."""
    ended = run("kill_myself", number=int(signal.SIGTERM))
    assert isinstance(ended, Died)
    assert ended.signal == signal.SIGTERM
    assert value(run("add", a=1)) == 3


def test_a_child_killed_between_calls_is_replaced(runner: Runner, run: Callable[..., Ended]) -> None:
    """A process that dies while it is idle costs nobody a call."""
    before = value(run("pid"))
    os.kill(before, signal.SIGKILL)
    eventually(lambda: gone(before))
    assert value(run("pid")) == child_of(runner) != before

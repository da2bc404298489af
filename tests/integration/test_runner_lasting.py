"""Helper processes of Python end with the call that started them; what acts for the rest of a process acts in no other."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lasting_functions import LEAVE
from runner_support import LOG_LIMIT, child_of, value

from worker.runner.runner import Died, Ended, Runner
from worker.runner.threads import Threads, _states

STAYS = {"audit hook", "fork"}
"""What costs the child: nobody can take it back."""


@pytest.fixture
def runner() -> Iterator[Runner]:
    """A runner of the functions in lasting_functions.py, closed afterwards."""
    with Runner(["lasting_functions"], log_limit=LOG_LIMIT) as made:
        yield made


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_each_call_may_use_a_pool(method: str, run: Callable[..., Ended], log: Path) -> None:
    """The second call starts helper processes of its own, and says nothing of those that have ended."""
    for _ in range(3):
        assert value(run("lasting.in_pool", method=method)) == [1, 4, 9]
        assert log.read_bytes() == b""


def test_a_manager_costs_no_process(runner: Runner, run: Callable[..., Ended]) -> None:
    """What the standard library makes of text is no code of others."""
    assert value(run("lasting.manage")) == child_of(runner)


def test_shared_memory_ends_with_its_call(run: Callable[..., Ended], log: Path) -> None:
    """It is removed as at the end of a program, and said in the log of the call that has left it."""
    name = value(run("lasting.share"))
    assert "leaked shared_memory" in log.read_text()
    assert not (Path("/dev/shm") / name).exists()  # where Linux has it


def test_a_process_that_was_killed_is_no_child_any_more(run: Callable[..., Ended]) -> None:
    """Nobody can be told to end a process that has another one's number by now."""
    assert [value(run("lasting.start_one")), value(run("lasting.start_one"))] == [1, 1]


@pytest.mark.parametrize("what", sorted(LEAVE))
def test_it_acts_in_no_other_call(what: str, runner: Runner, run: Callable[..., Ended], log: Path) -> None:
    """It is put back, or costs the process; the log of the next call has nothing of it."""
    fresh = value(run("lasting.look"))
    process = value(run("lasting.leave", what=what))
    assert value(run("lasting.look")) == fresh
    assert log.read_bytes() == b""
    assert (process == child_of(runner)) is (what not in STAYS)


def test_a_crash_is_told_in_its_own_log(run: Callable[..., Ended], log: Path) -> None:
    """Also after a call that had traces written elsewhere."""
    run("lasting.leave", what="dump to file")
    assert isinstance(run("lasting.crash"), Died)
    assert "Segmentation fault" in log.read_text()


def test_a_thread_that_has_not_begun_is_seen() -> None:
    """On a crowded machine it runs its first line long after the call has ended; what it says is not for another log."""
    held = threading.Lock()
    held.acquire()
    known = Threads()
    _thread.start_new_thread(held.acquire, ())
    try:
        assert "a thread was left running" in known.restore()
        assert len(_states() - known._states) == 1
    finally:
        held.release()

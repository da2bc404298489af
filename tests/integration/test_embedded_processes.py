"""Programs run by a guardian: they never outlive their owner, nor leave descendants behind."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from reconciler.api.errors import ReconcilerError
from reconciler.embedded.processes import ManagedProcess, await_ready

FAMILY = """
(setsid sleep 1000 &)
setsid sh -c 'sleep 1000 & wait' &
sleep 1000 &
trap 'exit 7' TERM
echo up
wait
"""
"""A shell with an orphan and a child that both left its session, a grandchild, and a child that stayed."""


def eventually(condition: Callable[[], Any], within: float = 30.0) -> None:
    """Wait until the condition holds; fail when it does not in time."""
    tick = threading.Event()
    for _ in range(int(within / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    pytest.fail(f"not within {within} s")


def gone(process: psutil.Process) -> bool:
    """Whether it has ended (a zombie has)."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def family_of(process: ManagedProcess) -> list[psutil.Process]:
    """Return the guardian and everything below it."""
    guardian = psutil.Process(process.pid).parent()
    assert guardian is not None
    return [guardian, *guardian.children(recursive=True)]


@pytest.fixture
def family(tmp_path: Path) -> Iterator[ManagedProcess]:
    """`FAMILY`, up."""
    process = ManagedProcess("family", ["sh", "-c", FAMILY], log=tmp_path / "log")
    process.start()
    await_ready(process, lambda: "up" in process.log_tail() and len(family_of(process)) == 6, 30)
    yield process
    process.kill()


@pytest.mark.parametrize("end", ["kill", "program killed", "guardian stopped"])
def test_no_descendant_survives(family: ManagedProcess, end: str) -> None:
    """However a program ends, its descendants end with it, even those that left its session."""
    members = family_of(family)
    if end == "guardian stopped":
        members[0].suspend()
    if end == "program killed":
        os.kill(family.pid, signal.SIGKILL)
    else:
        family.kill()
    eventually(lambda: all(map(gone, members)))
    assert family.wait(30) == -signal.SIGKILL
    assert not family.alive


def test_program_ends_with_its_guardian(family: ManagedProcess) -> None:
    """A guardian that is killed takes the program and its process group along."""
    members = family_of(family)
    in_group = [m for m in members if os.getpgid(m.pid) == family.pid]
    program = psutil.Process(family.pid)
    members[0].kill()
    eventually(lambda: gone(program))  # at once, whether or not the owner looks
    assert family.wait(30) == -signal.SIGKILL
    assert len(in_group) == 2
    eventually(lambda: all(map(gone, in_group)))
    for left in members:  # those that had left the group have no guardian any more
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()


def test_stop_lets_the_program_finish(family: ManagedProcess) -> None:
    """`stop` sends SIGTERM, returns what the program made of it, and leaves no descendant."""
    members = family_of(family)
    assert family.stop(30) == 7
    eventually(lambda: all(map(gone, members)))


def test_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A program that ignores SIGTERM is killed after the time it was given; it can be started again."""
    process = ManagedProcess("deaf", ["sh", "-c", "trap '' TERM; echo up; sleep 1000"], log=tmp_path / "log")
    process.start()
    first = process.pid
    await_ready(process, lambda: "up" in process.log_tail(), 30)
    assert process.stop(0.1) == -signal.SIGKILL
    process.start()
    assert process.alive
    assert process.pid != first
    process.kill()


def test_program_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """Only the end of the whole process ends its programs, not that of a thread."""
    process = ManagedProcess("sleeper", ["sleep", "1000"], log=tmp_path / "log")
    starter = threading.Thread(target=process.start)
    starter.start()
    starter.join()
    eventually(lambda: starter.native_id not in {t.id for t in psutil.Process().threads()})
    guardian = psutil.Process(process.pid).parent()
    assert guardian is not None
    switches = guardian.num_ctx_switches().voluntary
    eventually(lambda: guardian.num_ctx_switches().voluntary > switches)  # it has looked
    assert process.alive
    assert process.stop() == -signal.SIGTERM


@pytest.mark.parametrize("command", [["sh", "-c", "echo the reason >&2; exit 3"], ["/no/such/program"]])
def test_failed_start_shows_the_log(command: list[str], tmp_path: Path) -> None:
    """The error of a start that failed holds the return code and what the program wrote in this start."""
    (tmp_path / "log").write_text("an older story\n")
    process = ManagedProcess("failing", command, log=tmp_path / "log")
    process.start()
    with pytest.raises(ReconcilerError, match="ended before it was ready") as caught:
        await_ready(process, lambda: False, 5)
    assert (
        ("return code 3" in str(caught.value)) == ("the reason" in str(caught.value)) == (command[0] == "sh")
    )
    assert ("cannot run /no/such/program" in str(caught.value)) == (command[0] != "sh")
    assert "older story" not in str(caught.value)

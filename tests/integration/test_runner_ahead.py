"""Calls that a child is given before their turn: begun once or never, each with its own end and its own log."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runner_support import FUNCTIONS, LOG_LIMIT, child_of, eventually, gone, value

from worker.runner import ahead as ahead_module
from worker.runner.kernel import LINUX, unread
from worker.runner.messages import Read
from worker.runner.process import ChildProcess
from worker.runner.runner import Call, Died, Ended, Returned, Runner, Stopped

pytestmark = pytest.mark.skipif(not LINUX, reason="calls are given before their turn on Linux only")


def call_of(function: str, **given: Any) -> Call:
    """Make a call by name."""
    return Call(function, json.dumps(given).encode(), {}, {})


class Turns:
    """Runs calls in their order, and keeps the log of each."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.logs: list[str] = []

    def give(self, *calls: Call) -> None:
        """Give calls before their turn."""
        ahead = self._runner.ahead
        assert ahead is not None
        ahead.give(calls)
        assert all(call in ahead for call in calls)

    def run(self, call: Call, **options: Any) -> Ended:
        """Come to the turn of a call."""
        log = bytearray()
        limits: dict[str, Any] = {"stop": lambda: None, "poll": 0.02, "timeout": 60.0, "grace": 10.0}
        ended = self._runner.run(call, log=log, **(limits | options))
        self.logs.append(log.decode())
        return ended


@pytest.fixture
def turns() -> Iterator[Turns]:
    """A runner whose child is ready."""
    with Runner([FUNCTIONS, "ahead_functions"], log_limit=4 * LOG_LIMIT) as runner:
        found = Turns(runner)
        assert value(found.run(call_of("add", a=1))) == 3
        found.logs.clear()
        yield found


def begun(trace: Path) -> list[str]:
    """Who has begun, in order."""
    return trace.read_text().split() if trace.exists() else []


def test_each_has_its_own_end_and_log(turns: Turns) -> None:
    """Whoever writes much, little or nothing, before its turn or in it: each log holds what its call wrote."""
    sizes = [0, 5, 200_000, 0, 70_000, 1, 0, 3]
    calls = [call_of("write", text=str(number), times=size) for number, size in enumerate(sizes)]
    turns.give(*calls)
    assert [value(turns.run(call)) for call in calls] == list(map(str, range(8)))
    assert turns.logs == [str(number) * size for number, size in enumerate(sizes)]


class SlowLook:
    """Stands in for the poll of a child: it saw the output of the next call, and looked for the end of this one before."""

    def __init__(self, child: ChildProcess) -> None:
        self._poll, self._output, self._control = child._poll, child._output, child._control.fileno()
        self.over = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poll, name)

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        """Wait for both, tell of the output."""
        if self.over:
            return self._poll.poll(milliseconds)
        eventually(lambda: {self._output, self._control} <= dict(self._poll.poll(0)).keys())
        self.over = True
        return [(self._output, select.POLLIN)]


def test_what_the_next_call_writes_is_not_taken_for_output_of_this_one(turns: Turns) -> None:
    """The end of a call may come, and the next one write, while the supervisor looks at one after the other."""
    first, second = (call_of("write", text=text, times=1) for text in ("", "b"))
    child = turns._runner._child
    assert child is not None
    child._poll = look = SlowLook(child)  # type: ignore[assignment]  # it waits no otherwise
    turns.give(first, second)
    assert [value(turns.run(call)) for call in (first, second)] == ["", "b"]
    assert look.over
    assert turns.logs == ["", "b"]


def test_a_call_that_was_taken_back_never_begins(turns: Turns, tmp_path: Path) -> None:
    """What waits behind a long call goes elsewhere, and the one in turn stays."""
    trace = tmp_path / "trace"
    first, second, third = (call_of("note_and_wait", name=name, trace=str(trace)) for name in "abc")
    turns.give(first, second, third)
    eventually(lambda: begun(trace) == ["a"])
    ahead = turns._runner.ahead
    assert ahead is not None
    ahead.take_back()
    (tmp_path / "go").touch()
    assert first in ahead
    assert second not in ahead
    assert third not in ahead
    assert value(turns.run(first)) == "a"
    assert value(turns.run(call_of("add", a=1))) == 3
    assert begun(trace) == ["a"]


def test_the_one_in_turn_is_not_taken_back(turns: Turns, tmp_path: Path) -> None:
    """A busy machine may let a child take up a call late: it is still its own."""
    trace = tmp_path / "trace"
    first, second = (call_of("note_and_return", name=name, trace=str(trace)) for name in "ab")
    child = child_of(turns._runner)
    os.kill(child, signal.SIGSTOP)
    turns.give(first, second)
    ahead = turns._runner.ahead
    assert ahead is not None

    def stop() -> None:
        """Take back what waits while the first one is waited for."""
        if second in ahead:
            ahead.take_back()
            os.kill(child, signal.SIGCONT)

    assert value(turns.run(first, stop=stop)) == "a"
    assert second not in ahead
    assert value(turns.run(second)) == "b"
    assert begun(trace) == ["a", "b"]


def test_a_child_that_receives_from_the_middle_begins_nothing(
    turns: Turns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the supervisor takes back, the child may wake up and receive one behind what was taken: it drops that."""
    trace = tmp_path / "trace"
    calls = [call_of("note_and_return", name=name, trace=str(trace)) for name in "abcd"]
    child = child_of(turns._runner)
    os.kill(child, signal.SIGSTOP)
    turns.give(*calls)
    ahead, receive = turns._runner.ahead, ahead_module._received
    assert ahead is not None

    def slowly(theirs: socket.socket) -> bytes | None:
        """Receive one, and let the child receive all the others."""
        frame = receive(theirs)
        os.kill(child, signal.SIGCONT)
        eventually(lambda: unread(theirs.fileno()) == 0)
        return frame

    def stop() -> None:
        """Take back once, in the turn of the first."""
        if calls[3] in ahead:
            monkeypatch.setattr(ahead_module, "_received", slowly)
            ahead.take_back()
            monkeypatch.undo()
            assert not any(call in ahead for call in calls)

    assert [value(turns.run(call, stop=stop)) for call in calls] == list("abcd")
    assert begun(trace) == list("abcd")
    assert child_of(turns._runner) == child


def test_an_aborted_call_that_was_not_begun_never_begins(turns: Turns, tmp_path: Path) -> None:
    """Its child is not even asked to stop, and those behind it run there."""
    trace = tmp_path / "trace"
    first, second = (call_of("note_and_return", name=name, trace=str(trace)) for name in "ab")
    child = child_of(turns._runner)
    os.kill(child, signal.SIGSTOP)
    turns.give(first, second)
    assert turns.run(first, stop=lambda: "aborted") == Stopped("aborted", killed=False)
    os.kill(child, signal.SIGCONT)
    assert value(turns.run(second)) == "b"
    assert begun(trace) == ["b"]
    assert child_of(turns._runner) == child


def test_an_aborted_call_does_not_take_the_next_one_with_it(turns: Turns, tmp_path: Path) -> None:
    """Those that wait behind it begin in another child, once."""
    trace = tmp_path / "trace"
    first, second = (call_of("note_and_wait", name=name, trace=str(trace)) for name in "ab")
    child = child_of(turns._runner)
    turns.give(first, second)
    stopped = turns.run(first, stop=lambda: "aborted" if begun(trace) == ["a"] else None)
    assert stopped == Stopped("aborted", killed=False)
    assert gone(child)
    (tmp_path / "go").touch()
    assert value(turns.run(second)) == "b"
    assert begun(trace) == ["a", "b"]


def test_an_abort_that_comes_too_late_hits_nobody(turns: Turns, tmp_path: Path) -> None:
    """When the next call has begun, the one before has ended: the next one goes on."""
    trace = tmp_path / "trace"
    first = call_of("note_and_return", name="a", trace=str(trace))
    second = call_of("note_and_wait", name="b", trace=str(trace))
    child = child_of(turns._runner)
    turns.give(first, second)
    eventually(lambda: begun(trace) == ["a", "b"])
    assert turns.run(first, stop=lambda: "aborted") == Stopped("aborted", killed=False)
    (tmp_path / "go").touch()
    assert value(turns.run(second)) == "b"
    assert begun(trace) == ["a", "b"]
    assert child_of(turns._runner) == child


def test_a_death_costs_the_one_that_ran(turns: Turns, tmp_path: Path) -> None:
    """Before its turn or in it, the call that died is the one that is told of; those behind it begin elsewhere, once."""
    trace = tmp_path / "trace"
    first = call_of("note_and_return", name="a", trace=str(trace))
    second = call_of("note_and_die", name="b", trace=str(trace))
    third = call_of("note_and_return", name="c", trace=str(trace))
    child = child_of(turns._runner)
    turns.give(first, second, third)
    eventually(lambda: gone(child))
    functions = turns._runner.functions()
    assert isinstance(functions, dict)
    assert "note_and_die" in functions
    assert value(turns.run(first)) == "a"
    died = turns.run(second)
    assert isinstance(died, Died)
    assert died.signal == signal.SIGKILL
    assert value(turns.run(third)) == "c"
    assert begun(trace) == ["a", "b", "c"]
    assert turns.logs == ["", "last words of b\n", ""]


def test_what_the_call_before_left_unread_hides_no_death(turns: Turns, tmp_path: Path) -> None:
    """The kernel says that something was left unread: that was an answer to the call before, and this one has begun."""
    trace = tmp_path / "trace"
    first = call_of("note_and_wait", name="a", trace=str(trace))
    second = call_of("note_and_die", name="b", trace=str(trace))
    turns.give(first, second)

    def stop() -> None:
        """Answer what the function does not wait for, then let it end."""
        assert turns._runner._child is not None
        turns._runner._child.answer([Read()])
        (tmp_path / "go").touch()

    assert value(turns.run(first, stop=stop, poll=60.0)) == "a"
    assert isinstance(turns.run(second), Died)
    assert begun(trace) == ["a", "b"]


def test_a_child_that_ended_before_a_call_is_no_death_of_it(turns: Turns, tmp_path: Path) -> None:
    """What was given to a child that ends at rest begins in another one."""
    trace = tmp_path / "trace"
    first = call_of("note_and_return", name="a", trace=str(trace))
    child = child_of(turns._runner)
    os.kill(child, signal.SIGSTOP)
    turns.give(first)
    os.kill(child, signal.SIGKILL)
    eventually(lambda: gone(child))
    assert value(turns.run(first)) == "a"
    assert begun(trace) == ["a"]


def test_a_child_that_serves_no_other_call_begins_none(turns: Turns, tmp_path: Path) -> None:
    """What a call has left behind ends its child before the next one, wherever that waits."""
    trace = tmp_path / "trace"
    first = call_of("note_and_leave_threads", name="a", trace=str(trace))
    second = call_of("note_and_return", name="b", trace=str(trace))
    child = child_of(turns._runner)
    turns.give(first, second)
    assert value(turns.run(first)) == "a"
    assert value(turns.run(second)) == "b"
    assert begun(trace) == ["a", "b"]
    assert child_of(turns._runner) != child


def test_a_large_call_waits_for_its_turn(turns: Turns) -> None:
    """It is not given, and neither are those behind it: their order stays."""
    small, large, last = (call_of("write", text="x" * size, times=1) for size in (1, 100_000, 2))
    ahead = turns._runner.ahead
    assert ahead is not None
    ahead.give([small, large, last])
    assert small in ahead
    assert large not in ahead
    assert last not in ahead
    assert [len(value(turns.run(call))) for call in (small, large, last)] == [1, 100_000, 2]
    assert [len(text) for text in turns.logs] == [1, 100_000, 2]


def test_more_than_fit_wait_for_their_turn(turns: Turns) -> None:
    """What the socket does not take at once is sent later, and each call runs once."""
    calls = [call_of("write", text=f"{number} ".ljust(7000, "x"), times=1) for number in range(100)]
    child = child_of(turns._runner)
    os.kill(child, signal.SIGSTOP)
    ahead = turns._runner.ahead
    assert ahead is not None
    ahead.give(calls)
    assert 0 < len(ahead) < len(calls)
    os.kill(child, signal.SIGCONT)
    assert [int(value(turns.run(call)).split()[0]) for call in calls] == list(range(100))
    assert [int(text.split()[0]) for text in turns.logs] == list(range(100))


def test_a_time_limit_counts_from_the_turn(turns: Turns, tmp_path: Path) -> None:
    """A call whose time is over is stopped, and the next one runs."""
    trace = tmp_path / "trace"
    first, second = (call_of("note_and_wait", name=name, trace=str(trace)) for name in "ab")
    turns.give(first, second)
    assert turns.run(first, timeout=0.2) == Stopped("timed out", killed=False)
    (tmp_path / "go").touch()
    assert isinstance(turns.run(second), Returned)
    assert begun(trace) == ["a", "b"]
